"""Write records as sharded TFRecords, a whole dataset or nothing."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transforms.batches import Batch, counts, encode_flat, flat_columns
from transforms.domains import faults
from transforms.errors import InputError
from transforms.features import RECORD_KINDS, SPLITS, FeatureSet, RecordKind, Split
from transforms.files import check_folder, check_local, new_directory, sha256_of
from transforms.records import Dataset, ShardInfo, SplitInfo

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
    serialized = encode_flat(columns)
    if not serialized:
        return None
    examples, positives = counts(batch)
    times = np.asarray(batch.columns["timestamp"])
    return write_serialized(directory, batch.record, batch.split, name, serialized, times, examples, positives)


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
    import tensorflow as tf

    relative = os.path.join(record, split, f"{name}.tfrecord")
    path = Path(directory) / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in serialized:
            writer.write(one)
    info = ShardInfo(
        path=relative,
        records=len(serialized),
        examples=examples,
        positives=positives,
        first_timestamp=int(times.min()),
        last_timestamp=int(times.max()),
        sha256=sha256_of(path),
    )
    Path(f"{path}{_INFO_SUFFIX}").write_text(info.model_dump_json())
    return info


@dataclass
class Unfinished:
    """A dataset being written: put shards into `directory`; add what is known to `notes`."""

    directory: Path
    notes: dict[str, Any]
    _counted: dict[str, int] = field(default_factory=dict)

    def records_written(self) -> int:
        """Returns the number of records in the shards that are there already; cheap when called again."""
        for info in self.directory.rglob(f"*{_INFO_SUFFIX}"):
            if str(info) not in self._counted:
                with contextlib.suppress(ValueError):  # It may be under way.
                    self._counted[str(info)] = ShardInfo.model_validate_json(info.read_text()).records
        return sum(self._counted.values())


@contextlib.contextmanager
def new_dataset(
    out: str | os.PathLike[str], source: str, feature_set: FeatureSet, origin: dict[str, Any]
) -> Iterator[Unfinished]:
    """Gives an unfinished dataset; on a clean exit it becomes `out`, else nothing is left.

    Raises:
      InputError: `out` is in use, or no record was written.
    """
    check_local(out, "--out")
    check_folder(Path(out).parent, "--out")
    try:
        with new_directory(out) as temporary:
            unfinished = Unfinished(temporary, {})
            yield unfinished
            records = _collect(temporary)
            if not records:
                raise InputError(source, "no records", "at least one record", "check the input files")
            Dataset(
                source=source, feature_set=feature_set, records=records, origin=origin, notes=unfinished.notes
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
        splits = {split: _number_shards(directory, record, split) for split in SPLITS}
        present = {split: info for split, info in splits.items() if info.shards}
        if present:
            records[record] = present
    return records


def _number_shards(directory: Path, record: RecordKind, split: Split) -> SplitInfo:
    folder = directory / record / split
    infos = sorted(folder.glob(f"*{_INFO_SUFFIX}"))
    shards = []
    for index, info_path in enumerate(infos):
        written = ShardInfo.model_validate_json(info_path.read_text())
        relative = os.path.join(record, split, f"data-{index:05d}-of-{len(infos):05d}.tfrecord")
        os.rename(directory / written.path, directory / relative)
        info_path.unlink()
        shards.append(written.model_copy(update={"path": relative}))
    return SplitInfo(shards=tuple(shards))
