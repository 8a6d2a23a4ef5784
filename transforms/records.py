"""A dataset on disk: sharded TFRecords of tf.Example and the `dataset.json` beside them.

DIR/dataset.json
DIR/<record>/<split>/data-00000-of-00004.tfrecord      record: row | request; split: train | eval | test
DIR/items/<table>/data-00000-of-00001.tfrecord         tables of items, where the source has some
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from transforms.errors import FaultyData, InputError
from transforms.features import ITEM_ID, RECORD_KINDS, SPLITS, TIMESTAMP, Column, FeatureSet, RecordKind, Split
from transforms.files import check_local, sha256_of, write_text
from transforms.places import kind_of
from transforms.plain_text import parse_json

MANIFEST, ITEMS = "dataset.json", "items"
FORMAT_VERSION = 2

_FIXES = {
    "no such file or folder": "correct the path, or make one: `consort data simulate`, `consort data import`",
    "a finished run": "name the data that it was trained on, or other data",
    "a run that has not ended": "name the data that it is trained on",
    "an exported model": "name the data that it was trained on, or other data",
}
_Name = TypeVar("_Name", bound=str)


class ShardInfo(BaseModel):
    """What was written into one shard; `positives` counts labels of 1 (where exposed)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    records: int
    examples: int
    positives: int
    first_timestamp: int | None
    last_timestamp: int | None
    sha256: str


class SplitInfo(BaseModel):
    """Counts of one split; `examples` are rows, or exposed candidates of requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: tuple[ShardInfo, ...]

    @property
    def records(self) -> int:
        return sum(shard.records for shard in self.shards)

    @property
    def examples(self) -> int:
        return sum(shard.examples for shard in self.shards)

    @property
    def positives(self) -> int:
        return sum(shard.positives for shard in self.shards)

    @property
    def time_range(self) -> tuple[int, int] | None:
        """First and last timestamp in seconds UTC; None if there are no records."""
        firsts = [shard.first_timestamp for shard in self.shards if shard.first_timestamp is not None]
        lasts = [shard.last_timestamp for shard in self.shards if shard.last_timestamp is not None]
        return (min(firsts), max(lasts)) if firsts and lasts else None


class ItemTable(BaseModel):
    """A table of items as the dataset keeps it: tf.Examples with `item_id`, `timestamp` if it is timed, and columns.

    Args:
      columns: names of the records' columns that it has.
      times: those of them that hold a time in seconds here, and in the records the days from it to the event.
      timed: a row holds from its `timestamp` on; otherwise each item has one row, which always holds.
      shards: empty until they are written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]
    times: tuple[str, ...] = ()
    timed: bool = False
    shards: tuple[ShardInfo, ...] = ()


class Items(BaseModel):
    """What a dataset knows of items besides its records: the catalogue of retrieval has items that nobody was shown.

    Args:
      tables: by name.
      unseen: values, by column, of an item without a record: counters are 0. Others are missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: dict[str, ItemTable]
    unseen: dict[str, float] = Field(default_factory=dict)

    def with_shards(self, shards: Callable[[str, ItemTable], Iterable[ShardInfo]]) -> "Items":
        """Returns the same with the shards that a function gives for each table and its name."""
        tables = {
            name: table.model_copy(update={"shards": tuple(shards(name, table))}) for name, table in self.tables.items()
        }
        return self.model_copy(update={"tables": tables})

    def columns_of(self, table: str, feature_set: FeatureSet) -> tuple[Column, ...]:
        """Returns the columns of a table's shards: the key, its time if it has one, and its own."""
        of, keys = self.tables[table], {column.name: column for column in feature_set.columns_of("row")}
        unlimited = {"dtype": "int64", "min_value": None, "max_value": None}
        return (
            keys[ITEM_ID],
            *([keys[TIMESTAMP]] if of.timed else []),
            *(keys[name].model_copy(update=unlimited if name in of.times else {}) for name in of.columns),
        )

    @property
    def shards(self) -> tuple[ShardInfo, ...]:
        """The shards of all tables."""
        return tuple(shard for table in self.tables.values() for shard in table.shards)


class Dataset(BaseModel):
    """The content of `dataset.json`.

    Args:
      source: name of the source.
      feature_set: the declaration that the records follow.
      records: for each record kind, for each split, what is there.
      items: tables of items, where the source has some.
      origin: where it came from: seed and world of a simulation, or input files and options.
      notes: figures that the source knows and nobody could compute later (the oracle's AUC, say).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    source: str
    feature_set: FeatureSet
    records: dict[RecordKind, dict[Split, SplitInfo]]
    items: Items | None = None
    origin: dict[str, Any] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)

    @property
    def shards(self) -> tuple[ShardInfo, ...]:
        """All shards, of records and of items."""
        splits = (split for splits in self.records.values() for split in splits.values())
        of_records = tuple(shard for split in splits for shard in split.shards)
        return (*of_records, *(self.items.shards if self.items else ()))

    @property
    def sha256(self) -> str:
        """Hash of the content of all shards, independent of where the dataset lies."""
        lines = sorted(f"{shard.path} {shard.sha256}" for shard in self.shards)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def write(self, directory: str | os.PathLike[str]) -> None:
        """Writes `dataset.json` into `directory`, whole or not at all."""
        payload = {**self.model_dump(mode="json"), "sha256": self.sha256}
        write_text(Path(directory) / MANIFEST, json.dumps(payload, indent=2, sort_keys=True) + "\n")


def load_dataset(directory: str | os.PathLike[str]) -> Dataset:
    """Reads `dataset.json`.

    Raises:
      InputError: there is none, or it is not one of ours, or its hash does not fit its content.
    """
    check_local(directory, "dataset")
    path = Path(directory) / MANIFEST
    fix = "make a dataset with `consort data simulate` or `consort data import`"
    if not path.is_file():
        kind = kind_of(directory)
        if kind in _FIXES:
            fix = _FIXES[kind]
        elif Path(directory).suffix in (".yaml", ".yml"):
            fix = f"import it first: consort data import {directory} --out DATA"
        expected = f"a dataset, which is a folder with {MANIFEST}"
        raise InputError(str(directory), kind, expected, fix)
    try:
        payload = parse_json(path.read_text())
        stated = payload.pop("sha256", None)
        version = payload.get("format_version")
        # Version 1 differs in two names of the declaration, which reading it renames.
        if version not in (1, FORMAT_VERSION):
            raise InputError(str(path), f"format_version {version}", f"{FORMAT_VERSION}", fix)
        dataset = Dataset.model_validate({**payload, "format_version": FORMAT_VERSION})
    except InputError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise InputError(str(path), first_line, f"format {FORMAT_VERSION} of {MANIFEST}", fix) from error
    if stated != dataset.sha256:
        raise InputError(str(path), f"sha256 {stated}", f"{dataset.sha256}, as its shards add up to", fix)
    _check_places(path, dataset, fix)
    return dataset


def _check_places(path: Path, dataset: Dataset, fix: str) -> None:
    """No shard may count twice, or stand for another split: what is trained on would be tested on."""
    for record, splits in dataset.records.items():
        for split, info in splits.items():
            seen: set[str] = set()
            for shard in info.shards:
                if os.path.split(shard.path)[0] != os.path.join(record, split) or shard.path in seen:
                    received = "the same shard again" if shard.path in seen else f"shard {shard.path}"
                    where = f"{path}, {record} records of split {split!r}"
                    raise InputError(where, received, f"shards of {record}/{split}, each once", fix)
                seen.add(shard.path)


def warnings_of(dataset: Dataset, mean_label: Callable[[RecordKind, Split], float | None]) -> list[str]:
    """Returns what the import noticed, and what will keep a dataset from being trained on or tested with.

    The latter are splits without records or of one class.

    Args:
      dataset: as it was written.
      mean_label: of a split, asked where no label is 1: labels may be shares, such as 0.3.
    """
    lines = [str(notice) for notice in dataset.notes.get("notices", ())]
    for record, splits in dataset.records.items():
        for split in SPLITS:
            info = splits.get(split)
            if info is None or not info.records:
                lines.append(f"{record} records: split {split} is empty; change the splits, or import more data")
            elif not info.positives and not mean_label(record, split):
                lines.append(f"{record} records: in split {split} no label is 1; check the label and the splits")
            elif info.positives == info.examples:
                lines.append(f"{record} records: in split {split} all labels are 1; check the label and the splits")
    return lines


def split_named(name: str) -> Split:
    """The split of that name.

    Raises:
      InputError: there is none.
    """
    return _one_of(SPLITS, name, "split")


def record_kind(name: str) -> RecordKind:
    """The record kind of that name.

    Raises:
      InputError: there is none.
    """
    return _one_of(RECORD_KINDS, name, "record kind")


def _one_of(known: tuple[_Name, ...], name: str, what: str) -> _Name:
    for candidate in known:
        if candidate == name:
            return candidate
    raise InputError(what, repr(name), f"one of {', '.join(known)}", "choose one of these")


def shard_paths(directory: str | os.PathLike[str], dataset: Dataset, record: RecordKind, split: Split) -> list[str]:
    """Full paths of a split's shards, checked to exist.

    Raises:
      InputError: the dataset has no such records, or a shard is missing.
      FaultyData: the split is empty.
    """
    splits = dataset.records.get(record)
    if not splits:
        have = ", ".join(dataset.records)
        raise InputError(
            str(directory), f"records of kind {have}", f"records of kind {record}", "choose another source"
        )
    info = splits.get(split)
    if info is None or info.records == 0:
        have = ", ".join(name for name in SPLITS if name in splits and splits[name].records)
        fix = "give the dataset records of that split, or ask for another one where you may"
        raise FaultyData(str(directory), f"splits {have}", f"a split {split!r} that is not empty", fix)
    paths = [os.path.join(directory, shard.path) for shard in info.shards]
    for path in paths:
        if not os.path.exists(path):
            raise InputError(path, "no such file", f"a shard that {MANIFEST} names", "make the dataset again")
    return paths


def paths_of_splits(
    directory: str | os.PathLike[str], dataset: Dataset, record: RecordKind, splits: Iterable[Split]
) -> list[str]:
    """Full paths of the shards of some splits, in their order; as `shard_paths`."""
    return [path for split in splits for path in shard_paths(directory, dataset, record, split)]


def items_in(directory: str | os.PathLike[str], dataset: Dataset) -> Items | None:
    """Returns a dataset's tables of items with full paths of their shards, checked to exist; None: it has none.

    Raises:
      InputError: a shard is missing, or lies elsewhere than in the folder of its table.
    """
    if dataset.items is None:
        return None

    def full(name: str, table: ItemTable) -> Iterator[ShardInfo]:
        for shard in table.shards:
            path = os.path.join(directory, shard.path)
            if os.path.split(shard.path)[0] != os.path.join(ITEMS, name) or not os.path.exists(path):
                raise InputError(path, "no such file", f"a shard that {MANIFEST} names", "make the dataset again")
            yield shard.model_copy(update={"path": path})

    return dataset.items.with_shards(full)


def verify_shards(directory: str | os.PathLike[str], dataset: Dataset) -> None:
    """Compares every shard with the hash in `dataset.json`.

    Raises:
      InputError: a shard is missing or has changed.
    """
    for shard in dataset.shards:
        path = os.path.join(directory, shard.path)
        digest = sha256_of(path) if os.path.exists(path) else "no such file"
        if digest != shard.sha256:
            fix = "the file was damaged or changed: make the dataset again"
            raise InputError(path, digest, f"sha256 {shard.sha256}", fix)
