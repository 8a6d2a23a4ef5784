"""Rows with their users' histories, built some users at a time: raw rows are spread over temporary files by user."""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Literal, Self

import apache_beam as beam
import numpy as np

from transforms.arrow import ipc, pa
from transforms.batches import Batch, Values
from transforms.beam.import_dataset import ReadChunks
from transforms.errors import InputError
from transforms.features import SPLITS

BATCH_ROWS = 50_000
BYTES_PER_PART = 256 << 20
"""Raw bytes whose rows are in memory at once, about."""
_SLOTS = 32
"""Shards of many parts are in order of time as far as so many equal spans of time."""

Rows = dict[str, np.ndarray]
Types = Mapping[str, Literal["int64", "string"]]
ToColumns = Callable[[Rows], dict[str, Values]]
_ARROW = {"int64": pa.int64(), "string": pa.binary()}


class UserSpread:
    """Tables in temporary files, each user's rows in one part.

    Args:
      tables: columns of each table with their types; each has `user` and `time`.
      parts: how many.
    """

    def __init__(self, tables: Mapping[str, Types], parts: int):
        self.parts = parts
        self._schemas = {
            name: pa.schema([(column, _ARROW[kind]) for column, kind in types.items()])
            for name, types in tables.items()
        }
        self._sinks: dict[tuple[str, int], ipc.RecordBatchFileWriter] = {}
        self._times: dict[str, tuple[int, int]] = {}
        self._open = ExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="consort-users-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._folder.cleanup()

    def add(self, table: str, columns: Mapping[str, np.ndarray | pa.Array]) -> None:
        """Adds rows, [n] a column."""
        times = np.asarray(columns["time"])
        if not len(times):
            return
        first, last = self._times.get(table, (int(times[0]), int(times[0])))
        self._times[table] = min(first, int(times.min())), max(last, int(times.max()))
        schema = self._schemas[table]
        given = [columns[field.name] for field in schema]
        arrays = [values if isinstance(values, pa.Array) else pa.array(values) for values in given]
        arrays = [values.cast(kind) for values, kind in zip(arrays, schema.types, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        part = np.asarray(columns["user"]) % self.parts
        for number in np.unique(part).tolist():
            self._sink(table, number).write_batch(batch.take(pa.array(np.flatnonzero(part == number))))

    def time_range(self, table: str) -> tuple[int, int] | None:
        """First and last time of a table; None: it is empty."""
        return self._times.get(table)

    def rows(self, table: str, part: int) -> Rows:
        """The rows of one part in the order they were added; nothing can be added afterwards."""
        self._open.close()
        schema, path = self._schemas[table], self._path(table, part)
        if (table, part) not in self._sinks:
            found = schema.empty_table()
        else:
            with pa.OSFile(path) as file:
                found = ipc.open_file(file).read_all()
        columns = {name: found[name].to_numpy() for name in schema.names}
        return {name: values.astype("S") if values.dtype == object else values for name, values in columns.items()}

    def _sink(self, table: str, part: int) -> ipc.RecordBatchFileWriter:
        if (table, part) not in self._sinks:
            lz4 = ipc.IpcWriteOptions(compression="lz4")
            file = ipc.new_file(self._path(table, part), self._schemas[table], options=lz4)
            self._sinks[table, part] = self._open.enter_context(file)
        return self._sinks[table, part]

    def _path(self, table: str, part: int) -> str:
        return os.path.join(self._folder.name, f"{table}-{part:05d}.arrow")


class UserRowReader(ABC):
    """Reads a folder: each source says how its files are spread and what a row's columns are.

    Class attributes:
      tables: of `UserSpread`: `row`, one for each record, and `event`, what histories are made of. A `row`
        has `file` and `line` besides, which name the record.
    """

    tables: Mapping[str, Types]

    @abstractmethod
    def raw_bytes(self, input_dir: str) -> int:
        """Size of the files that are spread."""

    @abstractmethod
    def spread(self, input_dir: str, spread: UserSpread) -> tuple[int, int]:
        """Reads the files into `spread`.

        Returns:
          First time of `eval` and of `test`, in the unit of the table's `time`.

        Raises:
          InputError: a file is malformed.
        """

    def check_part(self, input_dir: str, rows: Rows) -> None:
        """Looks at all rows of some users.

        Raises:
          InputError: what is wrong with them together.
        """
        return

    @abstractmethod
    def columns_of(self, events: Rows) -> ToColumns:
        """From the events of some users to a function that gives columns for rows of the same users."""

    def __call__(self, input_dir: str) -> Iterator[tuple[str, Batch]]:
        """Gives `(shard name, Batch)` of all rows; names sort by time.

        Raises:
          InputError: a file is malformed.
        """
        parts = 1 + self.raw_bytes(input_dir) // BYTES_PER_PART
        with UserSpread(self.tables, parts) as spread:
            starts = self.spread(input_dir, spread)
            span = spread.time_range("row")
            # A single part is in order of time as a whole.
            slots = np.linspace(*span, _SLOTS + 1)[1:-1] if span is not None and parts > 1 else np.zeros(0)
            for part in range(parts):
                rows = spread.rows("row", part)
                order = np.lexsort((rows["line"], rows["file"], rows["time"]))
                rows = {name: values[order] for name, values in rows.items()}
                self.check_part(input_dir, rows)
                to_columns = self.columns_of(spread.rows("event", part))
                yield from _shards(rows, part, (slots, np.array(starts)), to_columns)


def request_ids(rows: Rows) -> np.ndarray:
    """`<file>-<line>` of each row, bytes [n]: the file's place in the list of those read, and the line in it."""
    file = np.char.add(rows["file"].astype("S"), b"-")
    return np.char.add(file, rows["line"].astype("S"))


def checked_starts(span: tuple[int, int] | None, starts: tuple[int, int], where: str, fix: str) -> tuple[int, int]:
    """First times of `eval` and of `test`, if there are rows before, between and after them.

    Args:
      span: first and last time of the rows; None: there are none.
      starts: of `eval` and `test`.
      where: the file or folder, for the message.
      fix: what the user can do.

    Raises:
      InputError: there are no rows, or none before `eval` or none from the start of `test` on.
    """
    if span is None:
        raise InputError(where, "no rows", "at least one row", "check the files")
    if not span[0] < starts[0] < starts[1] <= span[1]:
        received = f"times {span[0]} to {span[1]}"
        expected = f"rows before {starts[0]}, where eval begins, and from {starts[1]} on, where test begins"
        raise InputError(where, received, expected, fix)
    return starts


class ReadUserRows(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of a folder, read in one place.

    Args:
      input_dir: the folder.
      reader: of the source.
    """

    def __init__(self, input_dir: str | os.PathLike[str], reader: UserRowReader):
        super().__init__()
        self._input_dir, self._reader = os.fspath(input_dir), reader

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        return root | "Folder" >> beam.Create([self._input_dir]) | beam.ParDo(ReadChunks(self._reader))


def _shards(
    rows: Rows, part: int, borders: tuple[np.ndarray, np.ndarray], to_columns: ToColumns
) -> Iterator[tuple[str, Batch]]:
    slot, split = (np.searchsorted(border, rows["time"], "right") for border in borders)
    group = slot * len(SPLITS) + split
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    for start, stop in zip(cuts, cuts[1:], strict=False):
        for number, first in enumerate(range(start, stop, BATCH_ROWS)):
            piece = slice(first, min(first + BATCH_ROWS, stop))
            columns = to_columns({name: values[piece] for name, values in rows.items()})
            yield f"{slot[start]:03d}-{part:05d}-{number:05d}", Batch("row", SPLITS[split[start]], columns)
