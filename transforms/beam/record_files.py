"""TFRecord files as Arrow batches: files by name, as Beam's own sources take every name for a pattern.

tfx_bsl's own source sends each record through Beam by itself, and makes batches of at most 1000 whose sizes depend on
the speed of the machine; most of a transform was then the cost of a batch. Here a batch is one element, and its size
depends on the records alone, so that statistics are summed in the same order on every run.
"""

import os
from collections.abc import Iterator, Sequence

import apache_beam as beam
from tfx_bsl.coders import example_coder

from transforms.arrow import pa
from transforms.input import serialized

_READ_AT_ONCE = 256
_BATCH_ROWS, _BATCH_BYTES = 8192, 16 << 20
"""Either limit ends a batch."""


class ReadBatches(beam.PTransform):
    """Arrow batches of the examples in some TFRecord files.

    Args:
      files: paths, which mean themselves.
      schema: of the examples, a serialized TFMD schema.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], schema: bytes):
        super().__init__()
        self._files, self._schema = [os.fspath(file) for file in files], schema

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Files" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_batches, self._schema).with_output_types(pa.RecordBatch)
        )


def _batches(path: str, schema: bytes) -> Iterator[pa.RecordBatch]:
    decoder = example_coder.ExamplesToRecordBatchDecoder(schema)
    for examples in _lists(path):
        yield decoder.DecodeBatch(examples)


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
