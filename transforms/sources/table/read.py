"""Read a declared log in Beam: chunks of files become tables of typed rows, and these the records of a dataset."""

import os
from collections import Counter as Counts
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from transforms.arrow import pa, pc
from transforms.batches import Batch
from transforms.beam.counting import Counter, ImportCounts
from transforms.beam.options import PartOptions
from transforms.errors import InputError
from transforms.features import MISSING_INT, Split
from transforms.sources.point_in_time.batches_of import BatchesOf, ItemBatches
from transforms.sources.point_in_time.plan import Count, History, Join, Kept, Operation, Plan, Requests
from transforms.sources.point_in_time.splits import ByColumn, ByHash, SplitRule, fixed_times, time_shares
from transforms.sources.point_in_time.transform import LOG, PointInTime
from transforms.sources.table.bigquery import read_bigquery
from transforms.sources.table.declaration import Declaration, Table
from transforms.sources.table.files import Chunk, LogFile, chunks_of, find_files
from transforms.sources.table.formats import RawRows, column_names, read_rows
from transforms.sources.table.log_columns import LogColumns, table_columns
from transforms.sources.table.named_values import Named, absences, named_values, occurring
from transforms.sources.table.rows import log_rows, table_rows
from transforms.sources.table.schema import dtype_of, feature_set_of, items_of
from transforms.sources.table.times import split_starts, written
from transforms.sources.table.values import ages

_OCCURRED = "occurred"
PARTITION_BYTES = 64 << 20
"""Raw bytes whose rows are in memory at once, about."""


class ReadLog(beam.PTransform):
    """Gives the shards of a log's dataset, and errors; see `PointInTime`.

    Args:
      declaration: of the log.
      folder: of the declaration.
    """

    def __init__(self, declaration: Declaration, folder: Path):
        super().__init__()
        self._declaration, self._folder = declaration, folder

    def expand(self, root: beam.Pipeline) -> Any:  # A tuple of PCollections.
        log = self._declaration
        rows, occurred = root | "Log" >> _ReadRows(log, self._folder)
        inputs = {LOG: rows}
        for name in log.tables:
            inputs[name], _ = root | f"Table {name}" >> _ReadRows(log, self._folder, name)
        computed = inputs | PointInTime(plan_of(log, self._folder))
        if occurred is None:
            return computed
        together = occurred | beam.CombineGlobally(_joined).without_defaults()
        return (*computed, together | "Absences" >> beam.FlatMap(absences, log))


def _joined(parts: Iterable[frozenset[Named]]) -> frozenset[Named]:
    return frozenset().union(*parts)


class _ReadRows(beam.PTransform):
    """Gives the rows of a log, or of one of its tables, as tables (see `rows.py`), and of a log the named values.

    An `InputError` is an element of the rows. The second PCollection is None of a table, and of BigQuery.
    """

    def __init__(self, declaration: Declaration, folder: Path, table: str | None = None):
        super().__init__()
        self._declaration, self._folder, self._table = declaration, folder, table

    def expand(self, root: beam.Pipeline) -> Any:  # Beam warns of types of several PCollections.
        part: Declaration | Table = self._declaration.tables[self._table] if self._table else self._declaration
        if part.format == "bigquery":
            return root | read_bigquery(part.files, ToRows(self._declaration, self._table)), None
        files = find_files(part, self._folder)
        chunks = [chunk for file in files for chunk in chunks_of(file, part.csv)]
        of_log = None if self._table else root.pipeline.options.view_as(PartOptions).parts_folder
        sizes, counts = {file.path: os.path.getsize(file.path) for file in files}, ImportCounts(of_log)
        counts.counter("all_bytes").add(sum(sizes.values()))
        parts = Counts(chunk.file.path for chunk in chunks)
        sized = [(chunk, sizes[chunk.file.path] // parts[chunk.file.path]) for chunk in chunks]
        read = _ReadChunk(self._declaration, self._table, counts.counter("bytes"))
        outputs = (
            root
            | "Chunks" >> beam.Create(sized)
            | beam.Reshuffle()
            | "Rows" >> beam.ParDo(read).with_outputs(_OCCURRED, main="rows")
        )
        return outputs.rows, outputs[_OCCURRED] if self._table is None else None


class _ReadChunk(beam.DoFn):
    def __init__(self, declaration: Declaration, table: str | None, counter: Counter):
        self._declaration, self._table, self._counter = declaration, table, counter

    def process(self, sized: tuple[Chunk, int]) -> Iterator[Any]:
        (chunk, size), occurred = sized, set[Named]()
        try:
            yield from read_chunk(chunk, self._declaration, self._table, occurred)
            self._counter.add(size)
        except InputError as error:
            yield error
            # What the rest of the chunk has is not known; one error is enough.
            named = named_values(self._declaration)
            occurred = {(key, value) for key, (_, values) in named.items() for value in values}
        if self._table is None:
            yield TaggedOutput(_OCCURRED, frozenset(occurred))


def read_chunk(
    chunk: Chunk, declaration: Declaration, table: str | None = None, occurred: set[Named] | None = None
) -> Iterator[pa.Table]:
    """Reads the rows of a chunk of the log, or of one of its tables, and adds the named values that `occurred`.

    Raises:
      InputError: the file is malformed, or a value is not what the declaration says.
    """
    file, part = chunk.file, declaration if table is None else declaration.tables[table]
    wanted = LogColumns(declaration).wanted if table is None else table_columns(table, declaration.tables[table])
    to_rows = ToRows(declaration, table)
    for raw in read_rows(chunk, part.csv, _with_patterns(list(wanted), part, file)):
        rows = to_rows(raw, file.number, file.name)
        if table is None and occurred is not None:
            occurred |= occurring(raw, rows, declaration, occurred)
        yield rows


@dataclass(frozen=True)
class ToRows:
    """From raw records of the log, or of one of its tables, to rows."""

    declaration: Declaration
    table: str | None

    def __call__(self, raw: RawRows, file: int, file_name: str) -> pa.Table:
        if self.table is None:
            return log_rows(raw, LogColumns(self.declaration), file, file_name)
        return table_rows(raw, self.declaration, self.declaration.tables[self.table], file)


def _with_patterns(columns: list[str], part: Declaration | Table, file: LogFile) -> list[str]:
    """Adds the columns of vectors that are declared by a pattern."""
    patterns = [feature.column for feature in part.features.values() if "*" in (feature.column or "")]
    if not patterns:
        return columns
    names = column_names(file, part.csv)
    return [*columns, *(name for name in names if any(fnmatch(name, str(pattern)) for pattern in patterns))]


def plan_of(log: Declaration, folder: Path) -> Plan:
    """Returns what is computed of a log's rows.

    Args:
      log: its declaration.
      folder: of the declaration; the number of parts depends on the size of the files.
    """
    sizes = [os.path.getsize(file.path) for file in find_files(log, folder)] if log.format != "bigquery" else [1 << 34]
    requests = Requests(scattered=log.candidates is None) if log.has_requests else None
    return Plan(
        operations=tuple(_operations(log, folder)),
        split=_split_rule(log),
        finish=_Finish(log, BatchesOf(feature_set_of(log), log.record_kinds)),
        requests=requests,
        partitions=max(8, -(-sum(sizes) // PARTITION_BYTES)),
        kept=tuple(_kept(log, folder)),
    )


def _kept(log: Declaration, folder: Path) -> Iterator[Kept]:
    """Tables of items, which the dataset keeps: the catalogue of retrieval has items that nobody was shown."""
    items, feature_set = items_of(log), feature_set_of(log)
    if items is None:
        return
    for name, kept in items.tables.items():
        table, size = log.tables[name], 1 << 30
        if table.format != "bigquery":
            size = sum(os.path.getsize(file.path) for file in find_files(table, folder))
        finish = ItemBatches(name, items.columns_of(name, feature_set), "_key")
        yield Kept(name, "_key", finish, kept.timed, -(-size // PARTITION_BYTES))


def _operations(log: Declaration, folder: Path) -> Iterator[Operation]:
    for name, table in log.tables.items():
        yield Join(
            table=name,
            per=("user_id",) if log.entity_of(name) == "user" else ("item_id",),
            columns=tuple(table.features),
            key=("_key",),
            timed=table.timestamp is not None,
            called=" and ".join(table.key),
            may_repeat=True,
            place=_TablePlace(table.files if table.format == "bigquery" else _names(table, folder)),
        )
    columns = LogColumns(log)
    for name, feature in log.features.items():
        history, count = feature.history, feature.count
        if history is not None:
            where = columns.conditions[history.where] if history.where else None
            of, per = columns.name_of(history.of), (columns.name_of(history.per),)
            yield History(name, of, per, where, history.last, history.lag)
        if count is not None:
            where = columns.conditions[count.where] if count.where else None
            yield Count(name, tuple(columns.name_of(key) for key in count.per), where, count.lag, count.within)


def _names(table: Table, folder: Path) -> tuple[str, ...]:
    return tuple(file.name for file in find_files(table, folder))


@dataclass(frozen=True)
class _TablePlace:
    """Where a row of a table stands."""

    names: tuple[str, ...]

    def __call__(self, file: int, row: int) -> str:
        return self.names[file]


def _split_rule(log: Declaration) -> SplitRule:
    splits, where = log.splits, f"{log.name}, splits"
    if splits.by in ("column", "files"):
        return ByColumn("_split")
    if splits.by in ("user", "random"):
        return ByHash(("user_id",) if splits.by == "user" else (), splits.shares, splits.seed)
    zone = log.timestamp.timezone if log.timestamp else None
    shown = partial(written, timezone=zone)
    if splits.dates is None:
        return time_shares(splits.shares, where, "set other shares, or split by random", shown)
    return fixed_times(split_starts(splits, zone), f"{where}.dates", "set dates within the log", shown)


@dataclass(frozen=True)
class _Finish:
    """Makes batches of the rows of a shard: of times that tables tell come the days to the event."""

    log: Declaration
    batches: BatchesOf

    def __call__(self, rows: pa.Table, split: Split) -> Iterator[Batch]:
        for table in self.log.tables.values():
            for name, feature in table.features.items():
                if feature.is_time and dtype_of(self.log, name) == "float":
                    times = pc.fill_null(rows[name].cast(pa.int64()), MISSING_INT)
                    column = ages(times.combine_chunks(), rows["timestamp"].combine_chunks())
                    rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        yield from self.batches(rows, split)
