"""Sources whose raw files are a log and tables about its users and items, all text: read and joined on many workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import TaggedOutput

from transforms.arrow import pa, pc
from transforms.batches import Batch
from transforms.beam.line_chunks import LineChunk, SpreadChunks
from transforms.errors import InputError
from transforms.features import FeatureSet, Split
from transforms.sources.point_in_time.batches_of import BatchesOf
from transforms.sources.point_in_time.plan import FILE, REQUEST_ID, ROW, Operation, Plan
from transforms.sources.point_in_time.splits import ByTime
from transforms.sources.point_in_time.transform import LOG, PointInTime
from transforms.sources.text_format import TextFormat
from transforms.sources.text_table import CHUNK_BYTES, Converted, TextRows, read_chunk, text_chunks

_ERRORS = "errors"
PARTITION_BYTES = 128 << 20
"""Raw bytes whose rows are in memory at once, about."""

Columns: TypeAlias = Mapping[str, Converted]


def all_fields(rows: TextRows) -> Columns:
    """The fields as they are."""
    return {name: rows.values(name) for name in rows.fields}


@dataclass(frozen=True)
class TextFiles:
    """Files of one format, and what is made of their rows.

    Args:
      paths: where they are.
      text_format: what stands in them.
      columns: makes the columns of some rows; pickled to the workers.
    """

    paths: Sequence[Path]
    text_format: TextFormat
    columns: Callable[[TextRows], Columns] = all_fields

    def place(self, file: int, row: int) -> str:
        """A row of them, for messages."""
        return f"{self.paths[file]}, line {row}"


class ReadTextLog(beam.PTransform):
    """Gives the shards of a log, and errors; see `PointInTime`.

    Args:
      logs: the files of the log. A row's `request_id` is `<file>-<line>`: the file's place among all of them, and the
        line in it.
      tables: what is joined, by name.
      operations: what is computed.
      split: where eval and test begin.
      feature_set: the columns of the records.
      finish: adds the columns that are made of others, once all are there.
      events_first: see `Plan`.
    """

    def __init__(
        self,
        logs: Sequence[TextFiles],
        tables: Mapping[str, TextFiles],
        operations: Sequence[Operation],
        split: ByTime,
        feature_set: FeatureSet,
        finish: Callable[[pa.Table], pa.Table] | None = None,
        events_first: bool = False,
    ):
        super().__init__()
        self._logs, self._tables = logs, tables
        size = sum(path.stat().st_size for log in logs for path in log.paths)
        batches = _Finish(BatchesOf(feature_set), finish)
        self._plan = Plan(
            tuple(operations), split, batches, partitions=max(4, -(-size // PARTITION_BYTES)), events_first=events_first
        )

    def expand(self, root: beam.Pipeline) -> Any:  # A tuple of PCollections.
        readers: dict[str, _Reader] = {}
        for name, files in [*((LOG, log) for log in self._logs), *self._tables.items()]:
            first = sum(reader.table == name for reader in readers.values())
            readers |= {str(path): _Reader(name, first + number, files) for number, path in enumerate(files.paths)}
        chunks = [
            chunk
            for path, reader in readers.items()
            for chunk in text_chunks(path, reader.files.text_format, CHUNK_BYTES)
        ]
        parse = beam.ParDo(_ParseText(readers)).with_outputs(_ERRORS, LOG, *self._tables)
        outputs = root | SpreadChunks(chunks) | "Parse" >> parse
        inputs = {name: outputs[name] for name in (LOG, *self._tables)}
        return (*(inputs | PointInTime(self._plan)), outputs[_ERRORS])


@dataclass(frozen=True)
class _Reader:
    """What a file is: one of the log or of a table, its number among these, and how it is read."""

    table: str
    number: int
    files: TextFiles


class _ParseText(beam.DoFn):
    """Gives the rows of chunks as Arrow tables with `_file` and `_row`, to the output of their table."""

    def __init__(self, readers: Mapping[str, _Reader]):
        self._readers = readers

    def process(self, placed: tuple[LineChunk, int, int]) -> Iterator[TaggedOutput]:
        chunk, before, _ = placed
        reader = self._readers[chunk.path]
        try:
            rows = read_chunk(chunk, reader.files.text_format, before)
            columns = reader.files.columns(rows)
        except InputError as error:
            yield TaggedOutput(_ERRORS, ("error", error))
        else:
            places = {FILE: np.full(len(rows), reader.number, np.int64), ROW: rows.lines}
            yield TaggedOutput(reader.table, pa.table({**columns, **places}))


@dataclass(frozen=True)
class _Finish:
    batches: BatchesOf
    finish: Callable[[pa.Table], pa.Table] | None

    def __call__(self, rows: pa.Table, split: Split) -> Iterator[Batch]:
        file, line = (rows[name].cast(pa.string()) for name in (FILE, ROW))
        rows = rows.append_column(REQUEST_ID, pc.binary_join_element_wise(file, line, "-"))
        yield from self.batches(rows if self.finish is None else self.finish(rows), split)
