"""Raw text tables: chunks of whole lines, parsed by Arrow, refused with file, line, field and value."""

import csv as python_csv
import io
import os
import re
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from transforms.arrow import csv, pa, pc
from transforms.beam.line_chunks import LineChunk, count_lines, line_chunks, read_bytes
from transforms.errors import InputError
from transforms.features import MISSING_INT
from transforms.sources.text_format import CharacterRun, FieldKind, TextFormat

CHUNK_BYTES = 16 << 20
"""Raw bytes in memory at once."""

Converted: TypeAlias = np.ndarray | pa.Array
_REPAIR, _AGAIN = "repair or remove the line", "get the file again"
_WITH_HEADER = "use the raw file, with its header"


class TextRows:
    """Consecutive rows of a table, as bytes until asked for.

    Args:
      chunk: where they stand.
      first_line: number of the first row's line, from 1.
      batch: bytes of each field.
      text_format: of the file.
    """

    def __init__(self, chunk: LineChunk, first_line: int, batch: pa.RecordBatch, text_format: TextFormat):
        self._chunk, self._first_line, self._batch, self._format = chunk, first_line, batch, text_format

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(self._format.fields)

    @property
    def lines(self) -> np.ndarray:
        """Number of each row's line, int64 [n]."""
        return self._first_line + np.arange(len(self), dtype=np.int64)

    def values(self, name: str) -> Converted:
        """A field: int64 or float32 [n], or Arrow strings; missing values are the markers.

        Raises:
          InputError: a value is not of the field's kind; the first such value of all fields is named.
        """
        kind, column = self._format.fields[name], self._column(name)
        if not _is_valid(column, kind):
            raise _first_fault(read_bytes(self._chunk), self._chunk, self._first_line, self._format)
        return _converted(column.view(pa.string()), kind)

    def integers(self, name: str) -> np.ndarray:
        """As `values`, of a field of integers."""
        return np.asarray(self.values(name))

    def texts(self, name: str) -> pa.Array:
        """A field as it stands in the file."""
        return self._column(name).cast(pa.string())

    def refuse(self, bad: np.ndarray, name: str, expected: str, fix: str = _REPAIR, received: str = "") -> None:
        """Stops at the first bad row, if there is any.

        Args:
          bad: bool [n].
          name: the field.
          expected: what should stand there.
          fix: what the user can do.
          received: what stands there; the field's text where it is empty.

        Raises:
          InputError: some row is bad.
        """
        if bad.any():
            row = int(np.argmax(bad))
            where = f"{self._chunk.path}, line {self._first_line + row}, field {name}"
            raise InputError(where, received or _shown(self._column(name)[row].as_py()), expected, fix)

    def _column(self, name: str) -> pa.Array:
        return self._batch.column(self._batch.schema.get_field_index(name))


def text_chunks(path: str | os.PathLike[str], text_format: TextFormat, chunk_bytes: int) -> list[LineChunk]:
    """Cuts the rows of a file into chunks, each of which `read_chunk` reads on any worker."""
    skipped = len(read_first_line(path)) if text_format.header_lines else 0
    return line_chunks(path, chunk_bytes, skipped)


def read_chunk(chunk: LineChunk, text_format: TextFormat, rows_before: int) -> TextRows:
    """Reads one chunk.

    Args:
      chunk: of `text_chunks`.
      text_format: what stands in the file.
      rows_before: rows of the file before the chunk.

    Raises:
      InputError: the header or the number of fields of a line is wrong, or the file is no text.
    """
    names, data = _column_names(chunk.path, text_format), read_bytes(chunk)
    first_line, lines = rows_before + 1 + text_format.header_lines, count_lines(data)
    parsed, delimiter = _single_delimiter(data, text_format)
    try:
        table = csv.read_csv(
            io.BytesIO(parsed),
            csv.ReadOptions(use_threads=False, block_size=len(parsed) + 1, column_names=names),
            csv.ParseOptions(
                delimiter=delimiter, quote_char='"' if text_format.quoted else False, ignore_empty_lines=False
            ),
            csv.ConvertOptions(
                column_types={name: _parsed_type(kind) for name, kind in text_format.fields.items()},
                strings_can_be_null=False,
                include_columns=list(text_format.fields),
            ),
        ).combine_chunks()
    except pa.ArrowInvalid as error:
        raise _first_fault(data, chunk, first_line, text_format) from error
    if table.num_rows != lines:
        if not text_format.quoted:
            raise _first_fault(data, chunk, first_line, text_format)
        where = f"{chunk.path}, lines {first_line} to {first_line + lines - 1}"
        received = f"{table.num_rows} rows in {lines} lines"
        raise InputError(where, received, "a row a line", "look for a double quote that is not closed on its line")
    return TextRows(chunk, first_line, table.to_batches()[0], text_format)


def check_text(path: Path, text_format: TextFormat) -> None:
    """Looks at a file's first lines: the expected header or number of fields, and at least one row.

    Raises:
      InputError: what is wrong.
    """
    _column_names(path, text_format)
    first = read_first_line(path)
    if text_format.header_lines:
        if os.path.getsize(path) == len(first):
            raise InputError(str(path), "a header and no rows", "rows below the header", _AGAIN)
    elif len(first_fields(path, text_format)) != len(text_format.fields):
        received = f"{len(first_fields(path, text_format))} fields"
        raise InputError(f"{path}, line 1", received, text_format.expected, "use the raw file, without a header")


def read_first_line(path: str | os.PathLike[str]) -> bytes:
    """The first line of a file with its end; at most 64 KiB of it."""
    with open(path, "rb") as file:
        return file.readline(1 << 16)


def first_fields(path: str | os.PathLike[str], text_format: TextFormat) -> list[str]:
    """The fields of a file's first line."""
    line = read_first_line(path).removeprefix(b"\xef\xbb\xbf").decode(errors="replace").rstrip("\r\n")
    return _fields_of(line, text_format.delimiter, quoted=text_format.header in ("names", "counted"))


def token_columns(texts: pa.Array, delimiter: str, count: int) -> list[np.ndarray]:
    """The first members of lists in text, a column each: bytes [n], empty where a list is shorter.

    Args:
      texts: lists in text.
      delimiter: between members.
      count: columns to give.
    """
    lists = pc.split_pattern(texts, delimiter)
    tokens = np.append(np.char.encode(lists.flatten().to_numpy(zero_copy_only=False).astype(str)), b"")
    ends = np.cumsum(lists.value_lengths().to_numpy())
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    places = (starts + number for number in range(count))
    return [tokens[np.where(place < ends, place, len(tokens) - 1)] for place in places]


def _parsed_type(kind: FieldKind) -> pa.DataType:
    # Of runs of ASCII nobody needs to know first that they are UTF-8.
    return pa.binary() if isinstance(kind.form, CharacterRun) else pa.string()


def _is_valid(column: pa.Array, kind: FieldKind) -> bool:
    """True if a column holds only what its kind allows."""
    if isinstance(kind.form, CharacterRun):
        return _is_run(column, kind.form, optional=bool(kind.missing))
    return bool(pc.all(pc.match_substring_regex(column, rf"\A(?:{kind.alternatives})\z"), min_count=0).as_py())


def _is_run(column: pa.BinaryArray, run: CharacterRun, optional: bool) -> bool:
    _, offset_buffer, value_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[: len(column) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    empty = lengths == 0
    values = memoryview(value_buffer)[: offsets[-1]].tobytes() if offsets[-1] else b""
    others = values.translate(None, _bytes_of(run.characters))
    if others:
        leading = np.zeros(len(lengths), bool)
        leading[~empty] = np.frombuffer(values, np.uint8)[starts[~empty]] == ord("-")
        if not run.signed or others.strip(b"-") or len(others) != np.count_nonzero(leading):
            return False
        lengths = lengths - leading
    short = lengths < run.shortest
    if optional:
        short &= ~empty
    return not short.any() and bool(lengths.max(initial=0) <= run.longest)


@cache
def _bytes_of(characters: str) -> bytes:
    return bytes(byte for byte in range(128) if re.fullmatch(f"[{characters}]", chr(byte)))


def _converted(texts: pa.StringArray, kind: FieldKind) -> Converted:
    if kind.dtype == "string" and set(kind.missing) <= {""}:
        return texts
    absent = None
    if kind.missing == ("",):
        absent = pc.equal(pc.binary_length(texts), 0)
    elif kind.missing:
        absent = pc.is_in(texts, pa.array(kind.missing, pa.string()))
    if kind.dtype == "string":
        return pc.if_else(absent, "", texts)
    if absent is not None:
        present = np.packbits(~absent.to_numpy(zero_copy_only=False), bitorder="little")
        texts = pa.Array.from_buffers(texts.type, len(texts), [pa.py_buffer(present), *texts.buffers()[1:]])
    if kind.dtype == "float":
        return texts.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
    integers = texts if absent is None else pc.replace_substring_regex(texts, r"\.0+$", "")
    return pc.fill_null(integers.cast(pa.int64()), MISSING_INT).to_numpy(zero_copy_only=False)


def _single_delimiter(data: bytes, text_format: TextFormat) -> tuple[bytes, str]:
    """Lines whose fields are delimited by one character, which is all that the parser knows, and that character."""
    if len(text_format.delimiter) == 1:
        return data, text_format.delimiter
    try:
        data.decode()
    except UnicodeDecodeError:
        # Of the files with longer delimiters, some hold Latin-1.
        data = data.decode("latin-1").encode()
    return data.replace(text_format.delimiter.encode(), b"\t"), "\t"


def _column_names(path: str | os.PathLike[str], text_format: TextFormat) -> list[str]:
    """Names of all columns of a file, those of `text_format.fields` where they stand."""
    wanted = list(text_format.fields)
    if not os.path.getsize(path):
        raise InputError(str(path), "an empty file", text_format.expected, _AGAIN)
    if text_format.header == "none":
        return wanted
    header, where = first_fields(path, text_format), f"{path}, line 1"
    if text_format.header == "exact":
        expected = f"the header {text_format.delimiter.join(wanted)}"
        fix = "use the raw file, separated by commas and with its header"
        if len(header) != len(wanted):
            raise InputError(where, f"{len(header)} fields", expected, fix)
        for column, (name, wanted_name) in enumerate(zip(header, wanted, strict=True), start=1):
            if name != wanted_name:
                raise InputError(where, f"{name!r} in column {column}", expected, fix)
        return wanted
    if text_format.header == "counted":
        if len(header) != len(wanted):
            raise InputError(where, f"{len(header)} fields", text_format.expected, "use the raw file")
        if header[0].isdigit():
            raise InputError(
                where, f"{header[0]!r} in the first field", "a header", "use the raw file, with its header"
            )
        return wanted
    header = [name.strip() for name in header]
    names = [text_format.other_names.get(name, name) for name in header]
    for name in wanted:
        if names.count(name) != 1:
            received = f"columns {', '.join(header)}"
            raise InputError(where, received, f"one column {name!r}; all: {', '.join(wanted)}", _WITH_HEADER)
    # Columns that are not read may have any names, even twice.
    return [name if name in text_format.fields else f"_{index}" for index, name in enumerate(names)]


def _first_fault(data: bytes, chunk: LineChunk, first_line: int, text_format: TextFormat) -> InputError:
    """Returns what is wrong with the first malformed line, line by line."""
    names = _column_names(chunk.path, text_format)
    data, delimiter = _single_delimiter(data, text_format)
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=first_line):
        where = f"{chunk.path}, line {number}"
        text = line.removesuffix(b"\r").decode(errors="surrogateescape")
        values = _fields_of(text, delimiter, text_format.quoted)
        if len(values) != len(names):
            expected = text_format.expected if text_format.summary else f"{len(names)} fields"
            return InputError(where, f"{len(values)} fields", expected, _REPAIR)
        for name, value in zip(names, values, strict=True):
            kind = text_format.fields.get(name)
            if kind is not None and not kind.allows(value):
                return InputError(f"{where}, field {name}", _shown(value), kind.expected, _REPAIR)
            if kind is not None and any("\udc80" <= character <= "\udcff" for character in value):
                return InputError(where, _shown(value), "text in UTF-8", _REPAIR)
    where = f"{chunk.path}, lines {first_line} to {number}"
    return InputError(where, "bytes that are not lines of text", text_format.expected, _AGAIN)


def _fields_of(line: str, delimiter: str, quoted: bool) -> list[str]:
    if not quoted or len(delimiter) > 1:
        return line.split(delimiter)
    try:
        return next(python_csv.reader([line], delimiter=delimiter)) or [""]
    except python_csv.Error:
        # A carriage return within the line, or a field of more than 128 KiB.
        return line.split(delimiter)


def _shown(value: bytes | str) -> str:
    """A field for a message; bytes that are no text as hex digits."""
    text = value if isinstance(value, str) else value.decode(errors="surrogateescape")
    return repr(text) if text.isprintable() else repr(text.encode(errors="surrogateescape"))[1:]
