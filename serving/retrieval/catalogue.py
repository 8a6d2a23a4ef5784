"""The items that a retrieval model may answer with: each id once, with its raw values at some time."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving.retrieval.known_items import KnownItems
from transforms.batches import MARKERS
from transforms.errors import InputError
from transforms.features import (
    CANDIDATE,
    ITEM_ID,
    MISSING_INT,
    MISSING_STRING,
    TIMESTAMP,
    Column,
    FeatureSet,
    RecordKind,
)
from transforms.input import parsed, serialized
from transforms.records import Items
from transforms.schema import parse_spec

_MEMORY: dict[str, Any] = {"string": object, "int64": np.int64, "float": np.float32}
_BATCH = {"row": 8192, "request": 256}


@dataclass(frozen=True)
class Catalogue:
    """Items, sorted by id.

    Args:
      ids: each once; bytes, or int64 where the source has such ids.
      columns: raw values by column, `[n]` or `[n, W]`, in the order of the ids.
    """

    ids: np.ndarray
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)


def item_columns(feature_set: FeatureSet) -> tuple[Column, ...]:
    """Returns the raw columns that the item tower reads; lists of items are histories, which belong to the user."""
    return tuple(column for column in feature_set.raw_inputs() if _of_item(column))


def user_columns(feature_set: FeatureSet) -> tuple[Column, ...]:
    """Returns the raw columns that the user tower reads: all others."""
    return tuple(column for column in feature_set.raw_inputs() if not _of_item(column))


def _of_item(column: Column) -> bool:
    return column.entity == "item" and not column.variable_length


def catalogue_of(
    files: Sequence[str | os.PathLike[str]],
    feature_set: FeatureSet,
    record: RecordKind,
    batch_size: int | None = None,
    earliest: bool = False,
    items: Items | None = None,
) -> Catalogue:
    """Returns every item of raw shards, with the values of its newest record; of equally new ones the last read.

    Items of the dataset's tables count as well, and have the latest values of these. What neither says of an item is
    missing.

    Memory grows with the number of items, not of records.

    Args:
      files: TFRecord files of raw records.
      feature_set, record: as the dataset says; of requests, the real candidates count.
      batch_size: records read at once; None takes some thousand rows.
      earliest: take an item's earliest record instead; of equally old ones the first read.
      items: the dataset's tables of items, of `transforms.records.items_in`.

    Raises:
      InputError: there is no item with an id, or a file is missing or damaged.
    """
    kept = _read(files, feature_set, record, batch_size, earliest)
    return _with_tables(kept.catalogue(), _known(items, feature_set), feature_set, kept.last)


def _read(
    files: Sequence[str | os.PathLike[str]],
    feature_set: FeatureSet,
    record: RecordKind,
    batch_size: int | None = None,
    earliest: bool = False,
) -> "Newest":
    columns, names = item_columns(feature_set), [str(name) for name in files]
    kept = (Earliest if earliest else Newest)((feature_set.column(ITEM_ID), *columns))
    names_read = (ITEM_ID, TIMESTAMP, CANDIDATE, *(column.name for column in columns))
    spec = parse_spec(feature_set, record, names_read)
    try:
        for batch in parsed(serialized(names, batch_size or _BATCH[record]), spec) if names else ():
            kept.take(*_events({name: value.numpy() for name, value in batch.items()}, record))
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        fix = "make the dataset again"
        raise InputError(", ".join(names), error.message, "whole records of the feature set", fix) from error
    if not kept.slots:
        expected, fix = f"records with an {ITEM_ID}", "name the shards of a log in which items were shown"
        raise InputError(", ".join(names) or "no file", "no item", expected, fix)
    return kept


def _known(items: Items | None, feature_set: FeatureSet) -> KnownItems:
    known = KnownItems(feature_set)
    known.add(items)
    return known


def _with_tables(
    seen: Catalogue, known: KnownItems, feature_set: FeatureSet, now: int, until: int | None = None
) -> Catalogue:
    """Returns the items of records together with those of tables, whose values come first; see `KnownItems.at`."""
    if not known:
        return seen
    tables = [(seen.ids, seen.columns), *known.at(now, until)]
    ids = np.unique(np.concatenate([of for of, _ in tables]))
    places = [np.searchsorted(ids, of) for of, _ in tables]
    columns = {}
    for column in item_columns(feature_set):
        sizes = column.shape("row").sizes(len(ids), None, None, column.width)
        values = np.full(sizes, known.unseen.get(column.name, MARKERS[column.dtype]), _MEMORY[column.dtype])
        for place, (_, of_table) in zip(places, tables, strict=True):
            if column.name in of_table:
                values[place] = of_table[column.name]
        columns[column.name] = values
    return Catalogue(ids, columns)


def catalogue_at(
    before: Sequence[str | os.PathLike[str]],
    since: Sequence[str | os.PathLike[str]],
    feature_set: FeatureSet,
    record: RecordKind,
    items: Items | None = None,
) -> Catalogue:
    """Returns every item of raw shards, with the values that it had when the later shards began.

    Those are the values of its newest record before. An item that came later has those of its first record: what is
    known of it when it can first be retrieved, counters not yet moved by what the later shards ask about. Tables of
    items count likewise: the row that held then or, of an item that came while the later shards last, its first one.

    Args:
      before, since: TFRecord files of raw records, the earlier and the later ones; either may be none.
      feature_set, record: as the dataset says.
      items: the dataset's tables of items, of `transforms.records.items_in`.

    Raises:
      InputError: there is no item with an id, or a file is missing or damaged.
    """
    if not since:
        return catalogue_of(before, feature_set, record, items=items)
    later = _read(since, feature_set, record, earliest=True)
    earlier = _read(before, feature_set, record) if before else None
    seen = joined(earlier.catalogue(), later.catalogue()) if earlier else later.catalogue()
    # Splits that are not by time overlap: then it is the end of the earlier one that counts.
    now = max(later.first, earlier.last + 1) if earlier else later.first
    return _with_tables(seen, _known(items, feature_set), feature_set, now, max(now, later.last))


def joined(one: Catalogue, other: Catalogue) -> Catalogue:
    """Returns the items of two catalogues; those in both have the values of the first."""
    ids = np.concatenate([one.ids, other.ids])
    # The first of equal ids is that of the first catalogue.
    distinct, places = np.unique(ids, return_index=True)
    columns = {name: np.concatenate([values, other.columns[name]])[places] for name, values in one.columns.items()}
    return Catalogue(distinct, columns)


def _events(batch: Mapping[str, np.ndarray], record: RecordKind) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the time, and values by column, of each item in a batch of records."""
    times, values = batch[TIMESTAMP], {name: value for name, value in batch.items() if name not in _KEYS}
    if record == "row":
        return times, values
    real = batch[CANDIDATE] == 1
    return np.repeat(times, real.sum(axis=1)), {name: value[real] for name, value in values.items()}


_KEYS = (TIMESTAMP, CANDIDATE)


class Newest:
    """The newest values of each id, in arrays that double when they are full.

    Attributes:
      first, last: times of the records so far.
    """

    _NEVER = np.iinfo(np.int64).min

    def __init__(self, columns: Sequence[Column]):
        self.slots: dict[Any, int] = {}
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self._missing = MISSING_STRING if columns[0].dtype == "string" else MISSING_INT
        self._times = np.empty(0, np.int64)
        sizes = {column.name: column.shape("row").sizes(0, None, None, column.width) for column in columns}
        self._columns = {column.name: np.empty(sizes[column.name], _MEMORY[column.dtype]) for column in columns}
        self._read = {column.name for column in columns[1:]}

    def take(self, times: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Adds a batch of items."""
        self.first = min(self.first, int(times.min(initial=self.first)))
        self.last = max(self.last, int(times.max(initial=self.last)))
        known = values[ITEM_ID] != self._missing
        times, ids = times[known], values[ITEM_ID][known]
        order = self._order(times)
        distinct, first = np.unique(ids[order], return_index=True)
        last = order[first]
        slots = np.array([self.slots.setdefault(one, len(self.slots)) for one in distinct.tolist()], np.int64)
        self._grow()
        better = self._replaces(times[last], self._times[slots])
        slots, last = slots[better], last[better]
        self._times[slots] = times[last]
        for name, kept in self._columns.items():
            kept[slots] = values[name][known][last]

    def _order(self, times: np.ndarray) -> np.ndarray:
        """Returns the order of records in which the first one of an id is kept."""
        # By time and, where that is equal, by place, from the end.
        return np.argsort(times, kind="stable")[::-1]

    def _replaces(self, times: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return times >= kept

    def _grow(self) -> None:
        if len(self.slots) <= len(self._times):
            return
        more = 2 * len(self.slots) - len(self._times)
        self._times = np.concatenate([self._times, np.full(more, self._NEVER)])
        for name, kept in self._columns.items():
            self._columns[name] = np.concatenate([kept, np.empty((more, *kept.shape[1:]), kept.dtype)])

    def catalogue(self) -> Catalogue:
        """Returns the items so far, sorted by id."""
        ids = self._columns[ITEM_ID][: len(self.slots)]
        order = np.argsort(ids, kind="stable")
        columns = {name: self._columns[name][: len(ids)][order] for name in self._columns if name in self._read}
        return Catalogue(ids[order], columns)


class Earliest(Newest):
    """The earliest values of each id."""

    _NEVER = np.iinfo(np.int64).max

    def _order(self, times: np.ndarray) -> np.ndarray:
        return np.argsort(times, kind="stable")

    def _replaces(self, times: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return times < kept


_READ_AT_ONCE = 8192


class NewestItems:
    """Items of the rows seen so far.

    Args:
      feature_set: of the rows.
    """

    def __init__(self, feature_set: FeatureSet):
        columns = (feature_set.column(ITEM_ID), *item_columns(feature_set))
        self.names = tuple(column.name for column in columns)
        self._newest, self._known, self._feature_set = Newest(columns), KnownItems(feature_set), feature_set
        self._spec = parse_spec(feature_set, "row", (*self.names, TIMESTAMP))

    def take(self, columns: Mapping[str, np.ndarray]) -> None:
        """Adds rows: raw values of `names` and the timestamp, by column."""
        self._newest.take(columns[TIMESTAMP], columns)

    def add(self, items: Items | None) -> None:
        """Adds the tables of a span that begins; items that they alone have count as well."""
        self._known.add(items)

    def read(self, files: Sequence[str], rows: int | None = None) -> None:
        """Adds the rows of raw shards, or the first `rows` of them."""
        batches = serialized(files, _READ_AT_ONCE)
        if rows is not None:
            batches = batches.unbatch().take(rows).batch(_READ_AT_ONCE)
        for batch in parsed(batches, self._spec):
            self.take({name: values.numpy() for name, values in batch.items()})

    def catalogue(self) -> Catalogue:
        """All items, sorted by id.

        Raises:
          InputError: no row had an item.
        """
        if not self._newest.slots:
            raise InputError("the stream", "no item", f"rows with an {ITEM_ID}", "look at the first span")
        now = self._newest.last + 1
        return _with_tables(self._newest.catalogue(), self._known, self._feature_set, now, now - 1)
