"""TFRecord files by name: Beam's own sources take every name for a pattern."""

import os
from collections.abc import Iterator, Sequence

import apache_beam as beam

from transforms.input import serialized

_READ_AT_ONCE = 1024


class ReadRecords(beam.PTransform):
    """Serialized examples of some TFRecord files.

    Args:
      files: paths, which mean themselves.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]]):
        super().__init__()
        self._files = [os.fspath(file) for file in files]

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return (
            pipeline
            | "Files" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_records).with_output_types(bytes)
        )


def _records(path: str) -> Iterator[bytes]:
    for batch in serialized([path], _READ_AT_ONCE):
        yield from batch.numpy().tolist()
