"""Write records as sharded TFRecords, a whole dataset or nothing."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transforms.batches import Batch, ItemBatch, counts, flat_columns, flat_values
from transforms.domains import faults
from transforms.errors import InputError
from transforms.example_bytes import encode_examples
from transforms.features import RECORD_KINDS, SPLITS, TIMESTAMP, FeatureSet, RecordKind, Split
from transforms.files import check_folder, check_local, complete_file, new_directory, remove_incomplete, sha256_of
from transforms.records import ITEMS, Dataset, Items, ShardInfo, SplitInfo

_INFO_SUFFIX = ".info.json"


def write_shard(
    directory: str | os.PathLike[str], name: str, batch: Batch, feature_set: FeatureSet
) -> ShardInfo | None:
    """Writes one batch as one shard `<record>/<split>/<name>.tfrecord`, with its `ShardInfo` beside it.

    Names decide the order of shards in the dataset, so equal names and batches give equal datasets.

    Args:
      directory: the unfinished dataset.
      name: unique among the shards of a record kind and split.

    Returns:
      What was written; None for an empty batch, which leaves no file.

    Raises:
      InputError: a value is none that its column may have; see `transforms.domains`.
      ValueError: as `flat_columns`.
    """
    columns = flat_columns(batch, feature_set)
    for fault in faults(feature_set, batch.record, lambda column: columns[column.name]):
        raise fault.error(os.path.join(batch.record, batch.split, name))
    serialized = encode_examples(columns)
    if not serialized:
        return None
    examples, positives = counts(batch)
    times = np.asarray(batch.columns["timestamp"])
    return write_serialized(directory, batch.record, batch.split, name, serialized, times, examples, positives)


def write_items(
    directory: str | os.PathLike[str], name: str, batch: ItemBatch, items: Items, feature_set: FeatureSet
) -> ShardInfo | None:
    """Writes some rows of a table of items as one shard `items/<table>/<name>.tfrecord`, with its `ShardInfo`.

    Args:
      directory, name, feature_set: as in `write_shard`.
      items: what the dataset keeps of items.

    Returns:
      What was written; None for no rows, which leave no file.

    Raises:
      InputError: a value is none that its column may have.
      ValueError: as `flat_columns`.
    """
    all_columns = items.columns_of(batch.table, feature_set)
    columns = flat_values(batch.columns, all_columns)
    limited = [column for column in all_columns if column.name != TIMESTAMP]
    for fault in faults(feature_set, "row", lambda column: columns[column.name], limited):
        raise fault.error(os.path.join(ITEMS, batch.table, name))
    serialized = encode_examples(columns)
    if not serialized:
        return None
    times = np.asarray(batch.columns[TIMESTAMP]) if TIMESTAMP in batch.columns else None
    return _write(directory, os.path.join(ITEMS, batch.table, name), serialized, times, len(serialized), 0)


def copy_items(directory: str | os.PathLike[str], dataset: Dataset, unfinished: "Unfinished") -> None:
    """Copies the tables of items of a dataset into one that is being written with the same `items`."""
    for shard in dataset.items.shards if dataset.items else ():
        path = unfinished.directory / shard.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(directory) / shard.path, path)
        Path(f"{path}{_INFO_SUFFIX}").write_text(shard.model_dump_json())


def write_serialized(
    directory: str | os.PathLike[str],
    record: RecordKind,
    split: Split,
    name: str,
    serialized: Sequence[bytes],
    times: np.ndarray,
    examples: int,
    positives: int,
) -> ShardInfo:
    """Writes records that are encoded already as one shard; otherwise as `write_shard`.

    Args:
      times: of the records, seconds.
      examples, positives: what `ShardInfo` says of them.
    """
    return _write(directory, os.path.join(record, split, name), serialized, times, examples, positives)


def _write(
    directory: str | os.PathLike[str],
    place: str,
    serialized: Sequence[bytes],
    times: np.ndarray | None,
    examples: int,
    positives: int,
) -> ShardInfo:
    import tensorflow as tf

    relative = f"{place}.tfrecord"
    path = Path(directory) / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for one in serialized:
                writer.write(one)
        sha256 = sha256_of(temporary)
    info = ShardInfo(
        path=relative,
        records=len(serialized),
        examples=examples,
        positives=positives,
        first_timestamp=None if times is None else int(times.min()),
        last_timestamp=None if times is None else int(times.max()),
        sha256=sha256,
    )
    with complete_file(Path(f"{path}{_INFO_SUFFIX}")) as temporary:
        temporary.write_text(info.model_dump_json())
    return info


@dataclass
class Unfinished:
    """A dataset being written: put shards into `directory`; add what is known to `notes`."""

    directory: Path
    notes: dict[str, Any]
    _counted: dict[str, int] = field(default_factory=dict)

    def records_written(self) -> int:
        """Returns the number of records in the shards that are there already; cheap when called again."""
        for info in self.directory.glob(f"*/*/*{_INFO_SUFFIX}"):
            if info.parts[-3] not in RECORD_KINDS:
                continue
            if str(info) not in self._counted:
                with contextlib.suppress(ValueError):  # It may be under way.
                    self._counted[str(info)] = ShardInfo.model_validate_json(info.read_text()).records
        return sum(self._counted.values())


@contextlib.contextmanager
def new_dataset(
    out: str | os.PathLike[str],
    source: str,
    feature_set: FeatureSet,
    origin: dict[str, Any],
    items: Items | None = None,
) -> Iterator[Unfinished]:
    """Gives an unfinished dataset; on a clean exit it becomes `out`, else nothing is left.

    Args:
      out: folder, new or empty.
      source, feature_set, origin: as in `Dataset`.
      items: what it keeps of items; the shards are those that are written.

    Raises:
      InputError: `out` is in use, or no record was written.
    """
    check_local(out, "--out")
    check_folder(Path(out).parent, "--out")
    try:
        with new_directory(out) as temporary:
            unfinished = Unfinished(temporary, {})
            yield unfinished
            remove_incomplete(temporary)
            records = _collect(temporary)
            if not records:
                raise InputError(source, "no records", "at least one record", "check the input files")
            if items is not None:
                items = items.with_shards(lambda name, _: _number_shards(temporary, ITEMS, name))
            Dataset(
                source=source,
                feature_set=feature_set,
                records=records,
                items=items,
                origin=origin,
                notes=unfinished.notes,
            ).write(temporary)
    except FileExistsError as error:
        raise InputError(str(out), "a path in use", "a new or empty directory", "choose another --out") from error


def write_dataset(
    batches: Iterable[Batch],
    out: str | os.PathLike[str],
    source: str,
    feature_set: FeatureSet,
    origin: dict[str, Any],
    notes: Callable[[], dict[str, Any]] = dict,
) -> None:
    """Writes batches in order, one shard each, as a dataset; `notes` is asked after the last batch.

    Raises:
      InputError: `out` is in use, no record was written, or a value is none that its column may have.
    """
    with new_dataset(out, source, feature_set, origin) as unfinished:
        for index, batch in enumerate(batches):
            write_shard(unfinished.directory, f"part-{index:05d}", batch, feature_set)
        unfinished.notes.update(notes())


def _collect(directory: Path) -> dict[RecordKind, dict[Split, SplitInfo]]:
    records: dict[RecordKind, dict[Split, SplitInfo]] = {}
    for record in RECORD_KINDS:
        splits = {split: SplitInfo(shards=_number_shards(directory, record, split)) for split in SPLITS}
        present = {split: info for split, info in splits.items() if info.shards}
        if present:
            records[record] = present
    return records


def _number_shards(directory: Path, kind: str, part: str) -> tuple[ShardInfo, ...]:
    folder = directory / kind / part
    infos = sorted(folder.glob(f"*{_INFO_SUFFIX}"))
    shards = []
    for index, info_path in enumerate(infos):
        written = ShardInfo.model_validate_json(info_path.read_text())
        relative = os.path.join(kind, part, f"data-{index:05d}-of-{len(infos):05d}.tfrecord")
        os.rename(directory / written.path, directory / relative)
        info_path.unlink()
        shards.append(written.model_copy(update={"path": relative}))
    return tuple(shards)
