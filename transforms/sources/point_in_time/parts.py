"""Some rows of a log on their way from worker to worker: columns, with histories as ranges of shared events."""

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from transforms.arrow import ipc, joined_tables, pa
from transforms.sources.point_in_time.events_before import range_indices

Reference: TypeAlias = bytes | tuple[str, int, int]
"""A part itself, or the file, first byte and length of one."""
_START, _STOP = "{}/start", "{}/stop"


@dataclass(frozen=True)
class Part:
    """Rows with their histories.

    A history is not a list for each row: neighboring rows of a user have nearly the same. The events stand once, and a
    row has a range of them.

    Attributes:
      rows: a column of one chunk for each thing known; `NAME/start` and `NAME/stop` for each of `events`.
      events: by name: in order of key and time, what histories list.
    """

    rows: pa.Table
    events: Mapping[str, pa.Table] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def with_columns(self, columns: Mapping[str, pa.Array | np.ndarray]) -> "Part":
        """The part with columns added, or replaced."""
        rows = self.rows
        for name, values in columns.items():
            place = rows.schema.get_field_index(name)
            array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
            rows = rows.append_column(name, array) if place < 0 else rows.set_column(place, name, array)
        return Part(rows, self.events)

    def with_ranges(self, name: str, events: pa.Table, start: np.ndarray, stop: np.ndarray) -> "Part":
        """The part with a range of events for each row."""
        added = self.with_columns({_START.format(name): start, _STOP.format(name): stop})
        return Part(added.rows, {**self.events, name: events})

    def take(self, index: np.ndarray) -> "Part":
        """Some rows, with the events that they need."""
        result = Part(self.rows.take(pa.array(index)))
        for name, events in self.events.items():
            start, stop = result._range(name)
            # +1 where a range starts and -1 where it stops: an event is needed where more have started.
            change = np.bincount(start, minlength=len(events) + 1) - np.bincount(stop, minlength=len(events) + 1)
            needed = np.cumsum(change)[:-1] > 0
            place = np.concatenate([[0], np.cumsum(needed)])
            kept = events.take(pa.array(np.flatnonzero(needed)))
            result = result.with_ranges(name, kept, place[start], place[start] + stop - start)
        return result

    @staticmethod
    def joined(parts: Iterable["Part"]) -> "Part":
        """Rows of parts, one after the other; a column that a part lacks is null there."""
        parts = list(parts)
        names = dict.fromkeys(name for part in parts for name in part.events)
        shift, rows = dict.fromkeys(names, 0), []
        for part in parts:
            ranges: dict[str, np.ndarray] = {}
            for name in names:
                start, stop = part._range(name)
                ranges |= {_START.format(name): start + shift[name], _STOP.format(name): stop + shift[name]}
                shift[name] += part.events[name].num_rows if name in part.events else 0
            rows.append(part.with_columns(ranges).rows)
        events = {name: _joined(part.events[name] for part in parts if name in part.events) for name in names}
        return Part(_joined(rows), events)

    def to_table(self) -> pa.Table:
        """The rows, with a list column for each column of the events."""
        rows = self.rows
        for name, events in self.events.items():
            index, offsets = range_indices(*self._range(name))
            for column in events.column_names:
                values = _array(events[column]).take(pa.array(index))
                lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
                rows = rows.append_column(column, lists)
            rows = rows.drop([_START.format(name), _STOP.format(name)])
        return rows

    def to_bytes(self) -> bytes:
        """The part in Arrow's stream format, compressed."""
        sink = pa.BufferOutputStream()
        options = ipc.IpcWriteOptions(compression="lz4")
        for name, table in (("", self.rows), *self.events.items()):
            table = table.replace_schema_metadata({"name": name, "tables": str(1 + len(self.events))})
            with ipc.new_stream(sink, table.schema, options=options) as writer:
                writer.write_table(table)
        return bytes(sink.getvalue())

    @staticmethod
    def from_bytes(data: bytes) -> "Part":
        """What `to_bytes` wrote."""
        tables = dict(_streams(pa.BufferReader(data)))
        return Part(tables.pop(""), tables)

    def _range(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if _START.format(name) not in self.rows.column_names:
            return np.zeros(len(self), np.int64), np.zeros(len(self), np.int64)
        return self.rows[_START.format(name)].to_numpy(), self.rows[_STOP.format(name)].to_numpy()


@dataclass(frozen=True)
class PartStore:
    """Where parts wait between steps: in files of a folder that all workers share, or in Beam's own shuffle.

    Args:
      folder: where; None: in the shuffle, so that a reference is the part itself.
    """

    folder: str | None

    def put(self, parts: Iterable[tuple[int, Part]]) -> Iterator[tuple[int, Reference]]:
        """Gives a reference for each numbered part; all go into one file."""
        if self.folder is None:
            for number, part in parts:
                yield number, part.to_bytes()
            return
        path, references = os.path.join(self.folder, uuid.uuid4().hex), []
        with open(path, "xb") as file:
            for number, part in parts:
                references.append((number, (path, file.tell(), file.write(part.to_bytes()))))
        yield from references

    def get(self, reference: Reference) -> Part:
        """The part of a reference."""
        if isinstance(reference, bytes):
            return Part.from_bytes(reference)
        path, start, length = reference
        with open(path, "rb") as file:
            file.seek(start)
            return Part.from_bytes(file.read(length))


def _streams(source: pa.BufferReader) -> Iterator[tuple[str, pa.Table]]:
    left = 1
    while left:
        table = ipc.open_stream(source).read_all()
        metadata = table.schema.metadata
        left = (int(metadata[b"tables"]) if not metadata[b"name"] else left) - 1
        yield metadata[b"name"].decode(), table.replace_schema_metadata(None)


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    table = joined_tables(tables)
    return pa.Table.from_arrays([_array(column) for column in table.columns], table.column_names)


def _array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
