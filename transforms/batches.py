"""Columns of many records at once, and their encoding as tf.Example (in C++, by tfx_bsl)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from transforms.arrow import pa
from transforms.features import CANDIDATE, EXPOSED, LABEL, Column, FeatureSet, RecordKind, Shape, Split

_NUMPY_TYPES = {"int64": np.int64, "float": np.float32}
_ARROW_TYPES = {"int64": pa.int64(), "float": pa.float32(), "string": pa.large_binary()}


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
        columns of requests, `Ragged` for variable-length columns. Strings: bytes ('S' or object
        arrays) or arrow strings.
    """

    record: RecordKind
    split: Split
    columns: Mapping[str, Values]

    def __len__(self) -> int:
        keys = self.columns["request_id"]
        return len(keys.offsets) - 1 if isinstance(keys, Ragged) else len(keys)


def encode(batch: Batch, feature_set: FeatureSet) -> list[bytes]:
    """Serialized tf.Examples of a batch, in order; equal batches give equal bytes.

    Raises:
      ValueError: a column is missing, unknown, or of the wrong length, shape or type.
    """
    columns = feature_set.columns_of(batch.record)
    expected, received = {column.name for column in columns}, set(batch.columns)
    if expected != received:
        raise ValueError(
            f"a {batch.record} batch misses columns {sorted(expected - received)} "
            f"and has unknown columns {sorted(received - expected)}"
        )
    if not len(batch):
        return []
    arrays = [_lists(column, batch, feature_set.list_size) for column in columns]
    encoded = _encoder().encode(pa.RecordBatch.from_arrays(arrays, [column.name for column in columns]))
    # The encoder writes an example's features in an order of its own, which changes from call to call.
    parse = _example_class().FromString
    return [parse(example).SerializeToString(deterministic=True) for example in encoded]


def counts(batch: Batch) -> tuple[int, int]:
    """Examples (rows, or exposed candidates) and positives among them."""
    label = np.asarray(batch.columns[LABEL])
    if batch.record == "row":
        return label.size, int((label == 1).sum())
    shown = (np.asarray(batch.columns[EXPOSED]) == 1) & (np.asarray(batch.columns[CANDIDATE]) == 1)
    return int(shown.sum()), int((label[shown] == 1).sum())


@lru_cache(maxsize=1)
def _encoder() -> Any:
    from tfx_bsl.coders import example_coder

    return example_coder.RecordBatchToExamplesEncoder()


@lru_cache(maxsize=1)
def _example_class() -> Any:
    import tensorflow as tf

    return tf.train.Example


def _lists(column: Column, batch: Batch, list_size: int | None) -> pa.LargeListArray:
    values, shape, size = batch.columns[column.name], column.shape(batch.record), len(batch)
    if shape is Shape.RAGGED:
        if not isinstance(values, Ragged) or len(values.offsets) != size + 1:
            raise ValueError(f"column {column.name!r} must be Ragged with {size + 1} offsets")
        flat, offsets = values.values, np.asarray(values.offsets, np.int64)
    else:
        width = list_size if shape is Shape.CANDIDATES else 1
        wanted = (size, width) if shape is Shape.CANDIDATES else (size,)
        found = getattr(values, "shape", (len(values),) if isinstance(values, pa.Array) else None)
        if found != wanted:
            raise ValueError(f"column {column.name!r} has shape {found}, expected {wanted}")
        flat = values if isinstance(values, pa.Array) else np.asarray(values).reshape(-1)
        offsets = np.arange(size + 1, dtype=np.int64) * (width or 0)
    return pa.LargeListArray.from_arrays(pa.array(offsets), _typed(column, flat))


def _typed(column: Column, flat: Any) -> pa.Array:
    arrow_type = _ARROW_TYPES[column.dtype]
    if column.dtype != "string":
        flat = np.asarray(flat)
        if flat.dtype.kind not in ("iub" if column.dtype == "int64" else "fiub"):
            raise ValueError(f"column {column.name!r} has numpy type {flat.dtype}, expected {column.dtype}")
        return pa.array(flat.astype(_NUMPY_TYPES[column.dtype], copy=False))
    array = flat if isinstance(flat, pa.Array) else pa.array(flat)
    if len(array) == 0:
        return pa.array([], arrow_type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type) or _is_text(array.type)):
        raise ValueError(f"column {column.name!r} has type {array.type}, expected string or bytes")
    return array.cast(arrow_type)


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))
