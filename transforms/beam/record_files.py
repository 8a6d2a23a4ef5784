"""TFRecord files as batches: files by name, as Beam's own sources take every name for a pattern.

tfx_bsl's own source sends each record through Beam by itself, makes batches of at most 1000 whose sizes depend on the
speed of the machine, and decodes them one by one; most of a transform was then reading. Here a batch is one element,
which TensorFlow parses at once, and its size depends on the records alone, so that statistics are summed in the same
order on every run.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from transforms.arrow import pa
from transforms.input import serialized

Columns = Mapping[str, tf.Tensor | tf.RaggedTensor]
Spec = Mapping[str, Any]

_READ_AT_ONCE = 256
_BATCH_ROWS, _BATCH_BYTES = 8192, 16 << 20
"""Either limit ends a batch."""


class ReadBatches(beam.PTransform):
    """Arrow batches of the examples in some TFRecord files.

    Args:
      files: paths, which mean themselves.
      spec: of all columns, for `tf.io.parse_example`.
      schema: of the batches.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], spec: Spec, schema: pa.Schema):
        super().__init__()
        self._files, self._spec, self._schema = [os.fspath(file) for file in files], spec, schema

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Files" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_record_batches, self._spec, self._schema).with_output_types(pa.RecordBatch)
        )


def _record_batches(path: str, spec: Spec, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for columns in parsed_batches(path, spec):
        lists = {name: elements(column) for name, column in columns.items()}
        arrays = [
            pa.LargeListArray.from_arrays(pa.array(offsets), values)
            for values, offsets in (lists[name] for name in schema.names)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def parsed_batches(path: str, spec: Spec) -> Iterator[Columns]:
    """Yields the columns of some examples of a TFRecord file after the other.

    Args:
      path: of the file.
      spec: for `tf.io.parse_example`.
    """
    for examples in _lists(path):
        yield tf.io.parse_example(tf.constant(examples), dict(spec))


def elements(column: tf.Tensor | tf.RaggedTensor) -> tuple[pa.Array, np.ndarray]:
    """Returns the elements of a column, one after the other, and offsets `[B + 1]` of the examples in them.

    Args:
      column: dense `[B, ...]`, or lists of unequal lengths `[B, None, ...]`.
    """
    if isinstance(column, tf.RaggedTensor):
        flat, starts = column.flat_values.numpy(), column.row_splits.numpy()
        offsets = starts * int(np.prod(flat.shape[1:], dtype=np.int64))
    else:
        flat = column.numpy()
        offsets = np.arange(len(flat) + 1, dtype=np.int64) * int(np.prod(flat.shape[1:], dtype=np.int64))
    return pa.array(flat.reshape(-1), pa.large_binary() if flat.dtype == object else None), offsets


def _lists(path: str) -> Iterator[list[bytes]]:
    """Yields the records of a file in lists of about equal size."""
    examples: list[bytes] = []
    size = 0
    for batch in serialized([path], _READ_AT_ONCE):
        read = batch.numpy().tolist()
        examples += read
        size += sum(map(len, read))
        if len(examples) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield examples
            examples, size = [], 0
    if examples:
        yield examples
