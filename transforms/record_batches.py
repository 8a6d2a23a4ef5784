"""Serialized tf.Examples as columns, many at once.

tfx_bsl decodes them one by one, which takes TensorFlow's parser ten times as long: it is left to examples that are not
what their declaration says.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tfx_bsl.coders import example_coder

from transforms.arrow import pa
from transforms.input import serialized

Columns = Mapping[str, tf.Tensor | tf.RaggedTensor]
Spec = Mapping[str, Any]

_READ_AT_ONCE = 256
_BATCH_ROWS, _BATCH_BYTES = 8192, 16 << 20
"""Either limit ends a batch, so that its size depends on the records alone."""


def batches_of(path: str) -> Iterator[tf.Tensor]:
    """Yields the serialized examples of a TFRecord file in batches of about equal size, string [B]."""
    waiting: list[tf.Tensor] = []
    rows = size = 0
    for read in serialized([path], _READ_AT_ONCE):
        waiting.append(read)
        rows, size = rows + len(read), size + int(tf.reduce_sum(tf.strings.length(read)))
        if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield tf.concat(waiting, axis=0)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield tf.concat(waiting, axis=0)


def parsed_batches(path: str, spec: Spec) -> Iterator[Columns]:
    """Yields the columns of some examples of a TFRecord file after the other.

    Args:
      path: of the file.
      spec: for `tf.io.parse_example`.
    """
    for examples in batches_of(path):
        yield tf.io.parse_example(examples, dict(spec))


def strict_batch(columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """Returns parsed columns in Arrow.

    Args:
      columns: of all names in the schema.
      schema: of the result: lists of elements.
    """
    return pa.RecordBatch.from_arrays([_lists(*elements(columns[name])) for name in schema.names], schema=schema)


def any_batch(examples: Sequence[bytes] | tf.Tensor, spec: Spec) -> pa.RecordBatch:
    """Returns whatever examples hold, as tfx_bsl decodes it without a schema, to find out what that is.

    A column that an example lacks is null.

    Args:
      examples: serialized, string [B].
      spec: what they should hold, for `tf.io.parse_example`.
    """
    examples = tf.convert_to_tensor(examples, tf.string)
    if tf.train.Example.FromString(examples[0].numpy()).features.feature.keys() == spec.keys():
        lists = {name: tf.io.RaggedFeature(column.dtype, row_splits_dtype=tf.int64) for name, column in spec.items()}
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            columns = tf.io.parse_example(examples, lists)
            filled = {name for name, column in spec.items() if isinstance(column, tf.io.FixedLenFeature)}
            arrays = [_lists(*elements(column), no_empty=name in filled) for name, column in columns.items()]
            return pa.RecordBatch.from_arrays(arrays, [*columns])
    return example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(examples.numpy().tolist())


def elements(column: tf.Tensor | tf.RaggedTensor) -> tuple[pa.Array, np.ndarray]:
    """Returns the elements of a column, one after the other, and offsets `[B + 1]` of the examples in them.

    Args:
      column: dense `[B, ...]`, or lists of unequal lengths `[B, None, ...]`.
    """
    if isinstance(column, tf.RaggedTensor):
        flat, starts = column.flat_values.numpy(), column.row_splits.numpy()
    else:
        flat = column.numpy()
        starts = np.arange(len(flat) + 1, dtype=np.int64)
    offsets = starts * int(np.prod(flat.shape[1:], dtype=np.int64))
    return pa.array(flat.reshape(-1), pa.large_binary() if flat.dtype == object else None), offsets


def _lists(values: pa.Array, offsets: np.ndarray, no_empty: bool = False) -> pa.Array:
    """Returns lists; with `no_empty` null in place of empty ones."""
    empty = np.append(np.diff(offsets) == 0, False) if no_empty else None
    return pa.LargeListArray.from_arrays(pa.array(offsets, mask=empty), values)
