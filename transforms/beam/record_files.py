"""TFRecord files as batches: files by name, as Beam's own sources take every name for a pattern.

tfx_bsl's own source sends each record through Beam by itself, makes batches of at most 1000 whose sizes depend on the
speed of the machine, and decodes them one by one; most of a transform was then reading. Here a batch is one element,
which TensorFlow parses at once, and its size depends on the records alone, so that statistics are summed in the same
order on every run.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from tfx_bsl.coders import example_coder

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
            | "Read" >> beam.FlatMap(record_batches, self._spec, self._schema).with_output_types(pa.RecordBatch)
        )


def record_batches(path: str, spec: Spec, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yields what `ReadBatches` has of one file."""
    for columns in parsed_batches(path, spec):
        arrays = [_list_array(*elements(columns[name])) for name in schema.names]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class ReadAnyBatches(beam.PTransform):
    """Arrow batches of whatever examples are in some TFRecord files, to find out what they hold.

    A column that an example lacks is null. Examples with other columns or types than the spec's are decoded one by one.

    Args:
      files, spec: as in `ReadBatches`.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], spec: Spec):
        super().__init__()
        self._files, self._spec = [os.fspath(file) for file in files], spec

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Files" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(any_batches, self._spec).with_output_types(pa.RecordBatch)
        )


def any_batches(path: str, spec: Spec) -> Iterator[pa.RecordBatch]:
    """Yields what `ReadAnyBatches` has of one file."""
    lists = {name: tf.io.RaggedFeature(column.dtype, row_splits_dtype=tf.int64) for name, column in spec.items()}
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    for examples in _lists(path):
        columns = None
        if tf.train.Example.FromString(examples[0]).features.feature.keys() == spec.keys():
            with contextlib.suppress(tf.errors.InvalidArgumentError):
                columns = tf.io.parse_example(tf.constant(examples), lists)
        if columns is None:
            yield decoder.DecodeBatch(examples)
        else:
            dense = {name for name, column in spec.items() if isinstance(column, tf.io.FixedLenFeature)}
            arrays = [_list_array(*elements(column), null=name in dense) for name, column in columns.items()]
            yield pa.RecordBatch.from_arrays(arrays, [*columns])


def _list_array(values: pa.Array, offsets: np.ndarray, null: bool = False) -> pa.Array:
    """Returns lists; if asked for, null in place of empty ones."""
    empty = np.append(np.diff(offsets) == 0, False) if null else None
    return pa.LargeListArray.from_arrays(pa.array(offsets, mask=empty), values)


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
