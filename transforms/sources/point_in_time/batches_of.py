"""Batches of rows: each column in the type and shape that its declaration says, null as the missing marker."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from transforms.arrow import pa, pc
from transforms.batches import MARKERS, Batch, ItemBatch, Ragged, Values, padded
from transforms.errors import InputError
from transforms.features import (
    CANDIDATE,
    EXPOSED,
    ITEM_ID,
    LABEL,
    MISSING_INT,
    MISSING_STRING,
    STAGE,
    WEIGHT,
    Column,
    FeatureSet,
    RecordKind,
    Split,
)

REQUEST = "_request"
_PADDED_WITH_ZERO = frozenset({LABEL, WEIGHT, STAGE, CANDIDATE, EXPOSED})


@dataclass(frozen=True)
class BatchesOf:
    """Makes batches of the rows of a shard: the `finish` of a `Plan` that leaves nothing to do.

    Of rows that make requests, those with `exposed` are row records; without that column all are.

    Args:
      feature_set: the columns.
      records: which record kinds to make.
    """

    feature_set: FeatureSet
    records: tuple[RecordKind, ...] = ("row",)

    def __call__(self, rows: pa.Table, split: Split) -> Iterator[Batch]:
        if "request" in self.records:
            yield self._requests(rows, split)
        if "row" in self.records:
            exposed = _exposed(rows)
            shown = rows if exposed.all() else rows.take(pa.array(np.flatnonzero(exposed)))
            columns = self.feature_set.columns_of("row")
            yield Batch("row", split, {column.name: values_of(shown, column) for column in columns})

    def _requests(self, rows: pa.Table, split: Split) -> Batch:
        request, place, first = self._places(rows)
        columns: dict[str, Values] = {}
        for column in self.feature_set.columns_of("request"):
            if column.name in (CANDIDATE, EXPOSED):
                values = np.ones(len(request), np.int64) if column.name == CANDIDATE else _exposed(rows)
            elif column.shape("request").per_candidate:
                values = _in_arrays(values_of(rows, column))
            else:
                columns[column.name] = values_of(rows.take(pa.array(first)), column)
                continue
            sizes = (len(first), self.feature_set.list_size or 0, *values.shape[1:])
            lists: np.ndarray = np.full(sizes, _padding(column), values.dtype)
            lists[request, place] = values
            columns[column.name] = lists
        return Batch("request", split, columns)

    def _places(self, rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of each row's request, its place among the candidates, and the first row of each request."""
        numbers = rows[REQUEST].to_numpy()
        begins = np.diff(numbers, prepend=-1) != 0
        first, request = np.flatnonzero(begins), np.cumsum(begins) - 1
        place = np.arange(len(request)) - first[request]
        most = self.feature_set.list_size or 0
        if (place >= most).any():
            worst = int(request[np.argmax(place)])
            received = f"{int((request == worst).sum())} candidates"
            where = f"request {rows['request_id'][int(first[worst])].as_py()!r}"
            raise InputError(where, received, f"at most {most}, the list size", "choose a larger list size")
        return request, place, first


@dataclass(frozen=True)
class ItemBatches:
    """Makes batches of the rows of a table of items: the `finish` of a `Kept`.

    Args:
      table: its name.
      columns: of its shards.
      key: column of the rows that holds the item's id.
    """

    table: str
    columns: tuple[Column, ...]
    key: str

    def __call__(self, rows: pa.Table) -> ItemBatch:
        named = rows.append_column(ITEM_ID, rows[self.key]) if self.key != ITEM_ID else rows
        return ItemBatch(self.table, {column.name: values_of(named, column) for column in self.columns})


def values_of(rows: pa.Table, column: Column) -> Values:
    """A column of rows as a `Batch` has it."""
    array = rows[column.name].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if not column.variable_length and column.width is None:
        return _typed(array, column)
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.string()))
    elif pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    lengths = pc.list_value_length(array).fill_null(0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    lists = Ragged(_typed(array.flatten(), column), offsets)
    return lists if column.width is None else padded(lists, column)


def _typed(array: pa.Array, column: Column) -> np.ndarray | pa.Array:
    if column.dtype == "string":
        text = array if pa.types.is_binary(array.type) else array.cast(pa.string())
        return text.fill_null(MISSING_STRING if pa.types.is_binary(text.type) else "")
    if column.dtype == "int64":
        return array.cast(pa.int64()).fill_null(MISSING_INT).to_numpy(zero_copy_only=False)
    return array.cast(pa.float32()).to_numpy(zero_copy_only=False)


def _in_arrays(values: Values) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, Ragged):
        raise TypeError("a history is no column of candidates")
    return values.cast(pa.binary()).to_numpy(zero_copy_only=False)


def _exposed(rows: pa.Table) -> np.ndarray:
    if EXPOSED not in rows.column_names:
        return np.ones(rows.num_rows, np.int64)
    exposed: np.ndarray = rows[EXPOSED].combine_chunks().cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return exposed


def _padding(column: Column) -> Any:
    return 0 if column.name in _PADDED_WITH_ZERO else MARKERS[column.dtype]
