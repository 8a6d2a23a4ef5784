"""TFRecord files as Arrow batches in Beam: files by name, as Beam's own sources take every name for a pattern.

tfx_bsl's own source sends each record through Beam by itself, makes batches of at most 1000 whose sizes depend on the
speed of the machine, and decodes them one by one; most of a transform was then reading. Here a batch is one element, so
that statistics are summed in the same order on every run.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import apache_beam as beam
import numpy as np
import tensorflow as tf

from transforms.arrow import pa
from transforms.record_batches import Spec, any_batch, batches_of, parsed_batches, strict_batch

ReadFile = Callable[[str], Iterator[pa.RecordBatch]]


class ReadBatches(beam.PTransform):
    """Arrow batches of the examples in some TFRecord files.

    Args:
      files: paths, which mean themselves.
      read: reads one of them: see `strict` and `whatever`.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], read: ReadFile):
        super().__init__()
        self._files, self._read = [os.fspath(file) for file in files], read

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Files" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(self._read).with_output_types(pa.RecordBatch)
        )


def strict(spec: Spec, schema: pa.Schema) -> ReadFile:
    """Reads records that hold the columns of a spec.

    Args:
      spec: for `tf.io.parse_example`.
      schema: of the batches.
    """
    return partial(_strict, spec=spec, schema=schema)


def whatever(spec: Spec, rate: float = 1.0) -> ReadFile:
    """Reads records of which one wants to know what they hold; see `any_batch`.

    Args:
      spec: what they should hold.
      rate: share of the records to read, at equal distances.
    """
    return partial(_whatever, spec=spec, rate=rate)


def _strict(path: str, spec: Spec, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for columns in parsed_batches(path, spec):
        yield strict_batch(columns, schema)


def _whatever(path: str, spec: Spec, rate: float) -> Iterator[pa.RecordBatch]:
    read = 0
    for examples in batches_of(path):
        ends = np.floor(np.arange(read, read + len(examples) + 1) * rate)
        read += len(examples)
        chosen = np.flatnonzero(np.diff(ends))
        if len(chosen):
            yield any_batch(tf.gather(examples, chosen), spec)
