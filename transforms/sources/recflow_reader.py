"""The Beam graph of a RecFlow import: each day alone, piece by piece."""

import os
from collections.abc import Iterator

import apache_beam as beam

from transforms.batches import Batch
from transforms.beam.import_dataset import ReadChunks
from transforms.features import Split
from transforms.sources.recflow_files import (
    ROWS_PER_PIECE,
    feather_path,
    history_path,
    id_limits,
    pieces,
    split_days,
)
from transforms.sources.recflow_histories import Histories
from transforms.sources.recflow_options import RecflowOptions
from transforms.sources.recflow_records import RecordBuilder


class ReadRecflow(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of the days of a folder.

    Args:
      input_dir: the folder.
      options: as of the import.
    """

    def __init__(self, input_dir: str | os.PathLike[str], options: RecflowOptions):
        super().__init__()
        self._input_dir, self._options = os.fspath(input_dir), options

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        days = list(split_days(self._input_dir, self._options).items())
        read = ReadDay(self._input_dir, self._options)
        # A day's histories are one pickle, so a day is the smallest piece of work that a worker can take.
        return root | "Days" >> beam.Create(days) | "Spread" >> beam.Reshuffle() | beam.ParDo(ReadChunks(read))


class ReadDay:
    """Reads one day: its histories are in memory whole, its rows by pieces.

    Args:
      input_dir: the folder.
      options: as of the import.
      rows_per_piece: rows in memory at once, about.
    """

    def __init__(self, input_dir: str, options: RecflowOptions, rows_per_piece: int = ROWS_PER_PIECE):
        self._input_dir, self._options, self._rows_per_piece = input_dir, options, rows_per_piece

    def __call__(self, day_and_split: tuple[str, Split]) -> Iterator[tuple[str, Batch]]:
        """Gives the day's batches; names sort by time.

        Raises:
          InputError: a file was malformed.
        """
        day, split = day_and_split
        path = feather_path(self._input_dir, day, self._options)
        histories = Histories(history_path(self._input_dir, day))
        builder = RecordBuilder(path, split, histories, self._options)
        limits = id_limits(self._input_dir)
        for number, rows in enumerate(pieces(path, day, self._options, limits, self._rows_per_piece)):
            for index, batch in enumerate(builder.batches(rows)):
                yield f"{day}-{number:05d}-{index:05d}", batch
        histories.check_used()
