"""Columns of many records at once."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from transforms.arrow import pa
from transforms.example_bytes import encode_examples
from transforms.features import (
    CANDIDATE,
    EXPOSED,
    LABEL,
    MISSING_INT,
    MISSING_STRING,
    Column,
    FeatureSet,
    RecordKind,
    Shape,
    Split,
)

_NUMPY_TYPES: Mapping[str, Any] = {"int64": np.int64, "float": np.float32}
MARKERS: Mapping[str, Any] = {"int64": MISSING_INT, "float": math.nan, "string": MISSING_STRING}
"""Missing values by type."""


@dataclass(frozen=True)
class Ragged:
    """A list of lists: `values[offsets[i]:offsets[i + 1]]` is the i-th list.

    Args:
      values: all elements, one after the other.
      offsets: [n + 1], starting with 0.
    """

    values: np.ndarray | pa.Array
    offsets: np.ndarray


Values: TypeAlias = np.ndarray | pa.Array | Ragged


@dataclass(frozen=True)
class Batch:
    """Some records of one kind and split, by column.

    Args:
      record: `row` or `request`.
      split: `train`, `eval` or `test`.
      columns: every column of the FeatureSet for that kind: [n] for scalars, [n, M] for candidate
        columns of requests, with one dimension more, W, for columns with `width`, `Ragged` for variable-length
        columns. Strings: bytes ('S' or object
        arrays) or arrow strings.
    """

    record: RecordKind
    split: Split
    columns: Mapping[str, Values]

    def __len__(self) -> int:
        return _length(self.columns)


@dataclass(frozen=True)
class ItemBatch:
    """Some rows of a table of items, in order of time.

    Args:
      table: its name.
      columns: those that `item_table_columns` gives, as in `Batch`.
    """

    table: str
    columns: Mapping[str, Values]


def _length(columns: Mapping[str, Values]) -> int:
    keys = next(iter(columns.values()))
    return len(keys.offsets) - 1 if isinstance(keys, Ragged) else len(keys)


FlatColumns: TypeAlias = Mapping[str, tuple[pa.Array, np.ndarray]]
"""Of each column its elements, one after the other, in its type, and the offsets of the records in them."""


def rows_of(requests: Batch, vectors: Collection[str] = ()) -> Batch:
    """One row for each exposed candidate of a batch of requests, in their order.

    Args:
      requests: the batch.
      vectors: names of the columns with `width` whose values all candidates share, `[n, W]`.
    """
    request, candidate = np.nonzero(np.asarray(requests.columns[EXPOSED]))
    columns: dict[str, Values] = {}
    for name, values in requests.columns.items():
        if isinstance(values, Ragged):
            columns[name] = _take_lists(values, request)
        elif name not in (CANDIDATE, EXPOSED):
            array = np.asarray(values)
            shared = array.ndim == 1 or name in vectors
            columns[name] = array[request] if shared else array[request, candidate]
    return Batch("row", requests.split, columns)


def padded(lists: Ragged, column: Column) -> np.ndarray:
    """Returns lists as the values `[n, W]` of a column with `width`, filled up with the missing marker at the end.

    Args:
      lists: of at most W values each.
      column: has the width W.

    Raises:
      ValueError: a list has more values.
    """
    lengths, width = np.diff(lists.offsets), column.width or 0
    if (lengths > width).any():
        row = int(np.argmax(lengths > width))
        raise ValueError(
            f"column {column.name!r} has {lengths[row]} values in record {row}, expected at most {width}, its width"
        )
    values = np.full([len(lengths), width], MARKERS[column.dtype], _NUMPY_TYPES.get(column.dtype, object))
    values[np.arange(width) < lengths[:, np.newaxis]] = np.asarray(lists.values)
    return values


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one kind and split, one after the other."""
    columns: dict[str, Values] = {}
    for name, first in batches[0].columns.items():
        parts = [batch.columns[name] for batch in batches]
        if isinstance(first, Ragged):
            lengths = np.concatenate([np.diff(part.offsets) for part in parts if isinstance(part, Ragged)])
            values = np.concatenate([part.values for part in parts if isinstance(part, Ragged)])
            columns[name] = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
        else:
            columns[name] = np.concatenate([np.asarray(part) for part in parts])
    return Batch(batches[0].record, batches[0].split, columns)


def flat_columns(batch: Batch, feature_set: FeatureSet) -> FlatColumns:
    """The columns of a batch, each in its type.

    Raises:
      ValueError: a column is missing, unknown, or of the wrong length, shape or type, or a number does not fit its
        column's type.
    """
    columns = feature_set.columns_of(batch.record)
    return flat_values(batch.columns, columns, batch.record, feature_set.list_size)


def flat_values(
    values: Mapping[str, Values], columns: Sequence[Column], record: RecordKind = "row", list_size: int | None = None
) -> FlatColumns:
    """Returns values of some columns, each in its type.

    Raises:
      ValueError: as `flat_columns`.
    """
    expected, received = {column.name for column in columns}, set(values)
    if expected != received:
        raise ValueError(
            f"a {record} batch misses columns {sorted(expected - received)} "
            f"and has unknown columns {sorted(received - expected)}"
        )
    size = _length(values)
    return {
        column.name: _flat(column, values[column.name], column.shape(record), size, list_size) for column in columns
    }


def encode(batch: Batch, feature_set: FeatureSet) -> list[bytes]:
    """Serialized tf.Examples of a batch, in order; equal batches give equal bytes.

    Raises:
      ValueError: as `flat_columns`.
    """
    return encode_examples(flat_columns(batch, feature_set))


def counts(batch: Batch) -> tuple[int, int]:
    """Examples (rows, or exposed candidates) and positives among them."""
    label = np.asarray(batch.columns[LABEL])
    if batch.record == "row":
        return label.size, int((label == 1).sum())
    shown = (np.asarray(batch.columns[EXPOSED]) == 1) & (np.asarray(batch.columns[CANDIDATE]) == 1)
    return int(shown.sum()), int((label[shown] == 1).sum())


def _flat(
    column: Column, values: Values, shape: Shape, size: int, list_size: int | None
) -> tuple[pa.Array, np.ndarray]:
    if shape is Shape.RAGGED:
        if not isinstance(values, Ragged) or len(values.offsets) != size + 1:
            raise ValueError(f"column {column.name!r} must be Ragged with {size + 1} offsets")
        return _typed(column, values.values), _checked_offsets(column, values)
    expected = tuple(shape.sizes(size, list_size, None, column.width))
    received = getattr(values, "shape", (len(values),) if isinstance(values, pa.Array) else None)
    if received != expected:
        raise ValueError(f"column {column.name!r} has shape {received}, expected {expected}")
    flat = values if isinstance(values, pa.Array) else np.asarray(values).reshape(-1)
    return _typed(column, flat), np.arange(size + 1, dtype=np.int64) * math.prod(expected[1:])


def _checked_offsets(column: Column, lists: Ragged) -> np.ndarray:
    offsets = np.asarray(lists.offsets, np.int64)
    if offsets[0] != 0 or offsets[-1] != len(lists.values) or (np.diff(offsets) < 0).any():
        raise ValueError(
            f"column {column.name!r} has offsets from {offsets[0]} to {offsets[-1]}, expected rising ones from 0 to "
            f"{len(lists.values)}, its elements"
        )
    return offsets


def _typed(column: Column, flat: Any) -> pa.Array:
    if column.dtype != "string":
        return pa.array(_numbers(column, np.asarray(flat)))
    array = flat if isinstance(flat, pa.Array) else pa.array(flat)
    if len(array) == 0:
        return pa.array([], pa.large_binary())
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type) or _is_text(array.type)):
        raise ValueError(f"column {column.name!r} has type {array.type}, expected string or bytes")
    return array.cast(pa.large_binary()).fill_null(MISSING_STRING)


def _numbers(column: Column, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in ("iub" if column.dtype == "int64" else "fiub"):
        raise ValueError(f"column {column.name!r} has numpy type {values.dtype}, expected {column.dtype}")
    with np.errstate(over="ignore"):
        numbers: np.ndarray = values.astype(_NUMPY_TYPES[column.dtype], copy=False)
    if column.dtype == "int64":
        lost = (numbers < 0) if values.dtype.kind == "u" else np.zeros(len(values), bool)
    elif values.dtype.kind == "f":
        lost = np.isinf(numbers) & np.isfinite(values)
    else:
        # Compared as float64, in which also the nearest float32 of the largest integer stands exactly.
        lost = numbers.astype(np.float64) != values.astype(np.float64)
    if lost.any():
        raise ValueError(
            f"column {column.name!r} has the number {values[np.argmax(lost)]}, which {column.dtype} cannot hold"
            + ("; declare it int64" if values.dtype.kind in "iu" and column.dtype == "float" else "")
        )
    return numbers


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _take_lists(ragged: Ragged, lists: np.ndarray) -> Ragged:
    lengths = np.diff(ragged.offsets)[lists]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return Ragged(np.asarray(ragged.values)[np.repeat(ragged.offsets[:-1][lists], lengths) + place], offsets)
