"""Are the shards what `dataset.json` says? Damaged records are refused; changed but sound ones are told."""

import os
from collections.abc import Sequence

import tensorflow as tf

from transforms.errors import InputError
from transforms.features import RecordKind, Split
from transforms.files import sha256_of
from transforms.records import Dataset, ShardInfo, SplitInfo, shard_paths


def checked(
    directory: str | os.PathLike[str], dataset: Dataset, record: RecordKind, splits: Sequence[Split]
) -> tuple[Dataset, list[str]]:
    """Compares the shards of some splits with their hashes.

    A shard that somebody changed, and whose records are sound, is taken as it is: the data gates judge
    its content, and the dataset's hash becomes that of the content.

    Returns:
      The dataset with hashes and record counts as found, and the paths of the shards that had changed.

    Raises:
      InputError: a shard is missing, or holds a record whose checksum is wrong.
    """
    changed: list[str] = []
    found: dict[Split, SplitInfo] = dict(dataset.records[record])
    for split in splits:
        paths = shard_paths(directory, dataset, record, split)
        shards = tuple(_as_found(shard, path) for shard, path in zip(found[split].shards, paths, strict=True))
        changed += [path for path, old, new in zip(paths, found[split].shards, shards, strict=True) if old != new]
        found[split] = SplitInfo(shards=shards)
    return dataset.model_copy(update={"records": {**dataset.records, record: found}}), changed


def count_records(path: str) -> int:
    """Records of a TFRecord file, every checksum verified.

    Raises:
      InputError: a record is damaged or cut off.
    """
    count = 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            count += 1
    except tf.errors.DataLossError as error:
        where = f"{path}, after record {count}"
        raise InputError(where, "a damaged record", "records whose checksums fit", "make the dataset again") from error
    return count


def _as_found(shard: ShardInfo, path: str) -> ShardInfo:
    digest = sha256_of(path)
    if digest == shard.sha256:
        return shard
    return shard.model_copy(update={"sha256": digest, "records": count_records(path)})
