"""Reads lines by chunks: parsed by Arrow in C++, checked whole, refused with file, line and field."""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsDict

from transforms.arrow import csv, pa, pc
from transforms.batches import Batch, Values
from transforms.beam.import_dataset import ReadChunks
from transforms.beam.line_chunks import LineChunk, count_lines, line_chunks, lines_before, read_bytes
from transforms.errors import InputError
from transforms.features import SPLITS, Split
from transforms.sources.line_format import (
    MOST_HEX_DIGITS,
    MOST_KEY_DIGITS,
    NO_TIME,
    Kind,
    LineFormat,
    LineOptions,
    hour_seconds,
)
from transforms.sources.line_source import read_first_line
from transforms.splits import SPLIT_ENDS, random_splits

_TYPES = {
    Kind.LABEL: pa.int64(),
    Kind.INTEGER: pa.int64(),
    Kind.HOUR: pa.int64(),
    Kind.HEX: pa.binary(),
    Kind.KEY: pa.binary(),
}

Lines = Mapping[tuple[str, int], int]
ToColumns = Callable[[pa.Table, np.ndarray, str], dict[str, Values]]
"""From parsed rows, their ordinals in the file (0 first) and its name to the columns of records."""


def _byte_set(members: bytes) -> np.ndarray:
    allowed = np.zeros(256, bool)
    allowed[np.frombuffer(members, np.uint8)] = True
    return allowed


_DIGITS, _HEX_DIGITS = _byte_set(b"0123456789"), _byte_set(b"0123456789abcdefABCDEF")


class ReadLines(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of raw files.

    Args:
      files: paths with their split; None: split as the options say.
      line_format: what stands in a line.
      to_columns: makes records of parsed rows; a function of a module, since workers get it pickled.
      options: chunk size, rows a shard, split and seed.
    """

    def __init__(
        self,
        files: list[tuple[Path, Split | None]],
        line_format: LineFormat,
        to_columns: ToColumns,
        options: LineOptions,
    ):
        super().__init__()
        self._splits = {str(path): split for path, split in files}
        self._format, self._to_columns, self._options = line_format, to_columns, options

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        chunks = [chunk for path in self._splits for chunk in self._chunks(path)]
        created = root | "Chunks" >> beam.Create(chunks)
        lines = created | "CountLines" >> beam.Map(lambda chunk: ((chunk.path, chunk.index), count_lines(chunk)))
        reader = ChunkReader(self._splits, self._format, self._to_columns, self._options)
        spread = created | "Spread" >> beam.Reshuffle()
        return spread | "Parse" >> beam.ParDo(ReadChunks(reader), AsDict(lines))

    def _chunks(self, path: str) -> list[LineChunk]:
        skipped = len(read_first_line(path)) if self._format.header else 0
        return line_chunks(path, self._options.chunk_bytes, skipped)


class ChunkReader:
    """Parses one chunk of lines.

    Args:
      splits: split of each path; None: as the options say.
      line_format: what stands in a line.
      to_columns: makes records of parsed rows.
      options: rows a shard, split and seed.
    """

    def __init__(
        self,
        splits: Mapping[str, Split | None],
        line_format: LineFormat,
        to_columns: ToColumns,
        options: LineOptions,
    ):
        self._splits, self._format, self._to_columns, self._options = dict(splits), line_format, to_columns, options
        self._order = {path: index for index, path in enumerate(self._splits)}

    def __call__(self, chunk: LineChunk, lines: Lines) -> Iterator[tuple[str, Batch]]:
        """Gives the chunk's batches; `lines` are the lines of every chunk, by path and index."""
        first = lines_before(chunk, lines)
        table = parse_lines(read_bytes(chunk), chunk.path, first, self._format)
        if self._in_order_of_time(chunk.path):
            _check_order(table, chunk.path, first, self._format)
        total = sum(count for (path, _), count in lines.items() if path == chunk.path)
        for piece, start in enumerate(range(0, table.num_rows, self._options.batch_rows)):
            rows = table.slice(start, self._options.batch_rows)
            ordinals = first + start + np.arange(rows.num_rows, dtype=np.int64)
            name = f"{self._order[chunk.path]}-{chunk.index:05d}-{piece:05d}"
            for split, mask in self._masks(chunk.path, ordinals, total):
                columns = self._to_columns(rows.filter(pa.array(mask)), ordinals[mask], Path(chunk.path).name)
                yield name, Batch("row", split, columns)

    def _in_order_of_time(self, path: str) -> bool:
        return self._splits[path] is None and self._options.splits == "time"

    def _masks(self, path: str, ordinals: np.ndarray, total: int) -> Iterator[tuple[Split, np.ndarray]]:
        given = self._splits[path]
        if given is not None:
            yield given, np.ones(len(ordinals), bool)
            return
        if self._in_order_of_time(path):
            ends = [round(total * end) for end in SPLIT_ENDS[:-1]]
            chosen = np.searchsorted(ends, ordinals, side="right")
        else:
            chosen = random_splits(ordinals, self._options.seed)
        for index, split in enumerate(SPLITS):
            if (chosen == index).any():
                yield split, chosen == index


def parse_lines(data: bytes, path: str, first_line: int, line_format: LineFormat) -> pa.Table:
    """Parses whole lines.

    Args:
      data: bytes of the lines.
      path: their file, for messages.
      first_line: lines of the file before these, the header not counted.
      line_format: what stands in a line.

    Returns:
      A column for each field: int64, null where missing; of hex digits and keys binary, empty where missing.

    Raises:
      InputError: a line is malformed; file, line (from 1), field and value are named.
    """
    table = _parse_fast(data, line_format)
    if table is None:
        raise _first_fault(data, path, first_line, line_format)
    return table


def _parse_fast(data: bytes, line_format: LineFormat) -> pa.Table | None:
    """The parsed table, or None if anything is wrong with it."""
    types = {name: _TYPES[kind] for name, kind in line_format.fields.items()}
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=list(types)),
            csv.ParseOptions(delimiter=line_format.delimiter, quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False, check_utf8=False),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    if table.num_rows != data.count(b"\n") + (not data.endswith(b"\n")):
        return None
    return table if all(_is_right(table[name], kind) for name, kind in line_format.fields.items()) else None


def _is_right(column: pa.ChunkedArray, kind: Kind) -> bool:
    """True if a parsed column holds what its kind allows."""
    if kind is Kind.LABEL:
        return not column.null_count and pc.all(pc.is_in(column, pa.array([0, 1]))).as_py()
    if kind is Kind.HOUR:
        return not column.null_count and bool((hour_seconds(column.to_numpy()) != NO_TIME).all())
    if kind is Kind.HEX:
        return _is_made_of(column.chunk(0), _HEX_DIGITS, 0, MOST_HEX_DIGITS)
    if kind is Kind.KEY:
        return _is_made_of(column.chunk(0), _DIGITS, 1, MOST_KEY_DIGITS)
    return True


def _is_made_of(column: pa.BinaryArray, allowed: np.ndarray, shortest: int, longest: int) -> bool:
    _, offset_buffer, values = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    if lengths.min() < shortest or lengths.max() > longest:
        return False
    if offsets[-1] == offsets[0]:
        return True
    return bool(allowed[np.frombuffer(values, np.uint8)[offsets[0] : offsets[-1]]].all())


def _first_fault(data: bytes, path: str, first_line: int, line_format: LineFormat) -> InputError:
    delimiter, names = line_format.delimiter.encode(), list(line_format.fields)
    lines = data.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=first_line + 1 + line_format.header):
        values = line.removesuffix(b"\r").split(delimiter)
        where, fix = f"{path}, line {number}", "repair or remove the line"
        if len(values) != len(names):
            return InputError(where, f"{len(values)} fields", line_format.expected, fix)
        for name, value in zip(names, values, strict=True):
            kind = line_format.fields[name]
            if not kind.allows(value):
                return InputError(f"{where}, field {name}", repr(value)[1:], kind.expected, fix)
    return InputError(path, "bytes that are not lines of text", "a text file of such lines", "get the file again")


def _check_order(table: pa.Table, path: str, first_line: int, line_format: LineFormat) -> None:
    """Refuses lines whose time runs backwards; a file without times is taken to be in order."""
    for name, kind in line_format.fields.items():
        if kind is not Kind.HOUR:
            continue
        hours = table[name].to_numpy()
        back = np.flatnonzero(np.diff(hours) < 0)
        if len(back):
            row = int(back[0]) + 1
            where = f"{path}, line {first_line + row + 1 + line_format.header}, field {name}"
            fix = "sort the file by that field, or import it with --option splits=random"
            raise InputError(where, f"{hours[row]} after {hours[row - 1]}", "lines in order of time", fix)
