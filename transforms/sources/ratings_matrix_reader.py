"""The Beam graph of a ratings-matrix import: one matrix, in one worker's memory."""

import os
from collections.abc import Iterator

import apache_beam as beam

from transforms.batches import Batch
from transforms.beam.import_dataset import ReadChunks
from transforms.sources.ratings_matrix_files import read_ratings
from transforms.sources.ratings_matrix_options import RatingsMatrixOptions
from transforms.sources.ratings_matrix_records import batches
from transforms.sources.ratings_matrix_requests import check_enough


class ReadRatingsMatrix(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of a folder.

    Args:
      input_dir: the folder.
      options: as of the import.
    """

    def __init__(self, input_dir: str | os.PathLike[str], options: RatingsMatrixOptions):
        super().__init__()
        self._input_dir, self._options = os.fspath(input_dir), options

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        # Counters know all users' earlier clicks, so the rounds follow each other in one place.
        return root | "Folder" >> beam.Create([self._input_dir]) | beam.ParDo(ReadChunks(_ReadFolder(self._options)))


class _ReadFolder:
    def __init__(self, options: RatingsMatrixOptions):
        self._options = options

    def __call__(self, input_dir: str) -> Iterator[tuple[str, Batch]]:
        ratings = read_ratings(input_dir, self._options.format)
        check_enough(ratings, self._options.resolved(), input_dir)
        yield from batches(ratings, self._options)
