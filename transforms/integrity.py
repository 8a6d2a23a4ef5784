"""Are the shards what `dataset.json` says? Damaged records are refused; changed but sound ones are reported."""

import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from transforms.domains import Fault, elements_of, faults
from transforms.errors import FaultyData, InputError
from transforms.features import FeatureSet, RecordKind, Split
from transforms.files import sha256_of
from transforms.records import Dataset, ShardInfo, SplitInfo, items_in, shard_paths
from transforms.schema import parse_spec

_CHECKED_AT_ONCE = 8192


def checked(
    directory: str | os.PathLike[str], dataset: Dataset, record: RecordKind, splits: Sequence[Split]
) -> tuple[Dataset, list[str]]:
    """Compares the shards of some splits with their hashes.

    A shard that somebody changed, and whose records are sound, is taken as it is: the data gates judge
    its content, and the dataset's hash becomes that of the content.

    Returns:
      The dataset with hashes and record counts as they are now, and the paths of the shards that had changed.

    Raises:
      InputError: a shard is missing.
      FaultyData: a shard holds a record whose checksum is wrong.
    """
    changed: list[str] = []
    splits_now: dict[Split, SplitInfo] = dict(dataset.records[record])
    for split in splits:
        paths = shard_paths(directory, dataset, record, split)
        shards = tuple(_current(shard, path) for shard, path in zip(splits_now[split].shards, paths, strict=True))
        changed += [path for path, old, new in zip(paths, splits_now[split].shards, shards, strict=True) if old != new]
        splits_now[split] = SplitInfo(shards=shards)
    items_in(directory, dataset)  # Refuses a missing one.
    items = dataset.items
    if items is not None:
        paths = [os.path.join(directory, shard.path) for shard in items.shards]
        now = {path: _current(shard, path) for path, shard in zip(paths, items.shards, strict=True)}
        changed += [path for path, old in zip(paths, items.shards, strict=True) if now[path] != old]
        items = items.with_shards(lambda _, table: (now[os.path.join(directory, one.path)] for one in table.shards))
    records = {**dataset.records, record: splits_now}
    return dataset.model_copy(update={"records": records, "items": items}), changed


def check_values(
    directory: str | os.PathLike[str], dataset: Dataset, record: RecordKind, splits: Sequence[Split]
) -> None:
    """Looks at every value of some splits: whoever wrote the shards, nobody trains on what a column cannot have.

    Raises:
      InputError: a shard is missing or holds a record of another form, or a value that its column cannot have.
    """
    for split in splits:
        check_files(shard_paths(directory, dataset, record, split), dataset.feature_set, record)


def check_files(files: Sequence[str], feature_set: FeatureSet, record: RecordKind) -> None:
    """As `check_values`, of some files.

    Raises:
      InputError: as `check_values`.
    """
    for path in files:
        for start, fault in faults_in(path, feature_set, record):
            raise fault.error(path, start)


def faults_in(path: str, feature_set: FeatureSet, record: RecordKind) -> Iterator[tuple[int, Fault]]:
    """The first fault of each column in each batch of a file's records, with the number of the batch's first record.

    Raises:
      InputError: a record has another form than the declaration says.
    """
    start, spec = 0, parse_spec(feature_set, record)
    try:
        for examples in tf.data.TFRecordDataset(path).batch(_CHECKED_AT_ONCE):
            for fault in faults(feature_set, record, elements_of(tf.io.parse_example(examples, spec))):
                yield start, fault
            start += len(examples)
    except tf.errors.InvalidArgumentError as error:
        place = f"{path}, one of the {_CHECKED_AT_ONCE:,} records from {start} on"
        expected, fix = f"{record} records with every column of the declaration", "make the dataset again"
        raise InputError(place, _first_line(error.message), expected, fix) from error


def _first_line(message: str) -> str:
    return message.removeprefix("{{").splitlines()[0][:300]


def count_records(path: str) -> int:
    """Records of a TFRecord file, every checksum verified.

    Raises:
      FaultyData: a record is damaged or cut off.
    """
    count = 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            count += 1
    except tf.errors.DataLossError as error:
        where = f"{path}, after record {count}"
        raise FaultyData(where, "a damaged record", "records whose checksums fit", "make the dataset again") from error
    return count


def _current(shard: ShardInfo, path: str) -> ShardInfo:
    digest = sha256_of(path)
    if digest == shard.sha256:
        return shard
    return shard.model_copy(update={"sha256": digest, "records": count_records(path)})
