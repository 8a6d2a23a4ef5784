"""Raw text tables, read block by block by Arrow, checked whole, refused with file, line, field and value."""

import csv as python_csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from transforms.arrow import csv, pa, pc
from transforms.beam.line_chunks import line_chunks, read_bytes
from transforms.errors import InputError
from transforms.features import MISSING_INT
from transforms.sources.line_source import read_first_line
from transforms.sources.text_format import FieldKind, TextFormat

BLOCK_BYTES = 16 << 20
"""Raw bytes in memory at once."""

Converted: TypeAlias = np.ndarray | pa.Array
_FAULT = re.compile(r"Row #(\d+): (?:Expected (\d+) columns, got (\d+))?")
_REPAIR, _AGAIN = "repair or remove the line", "get the file again"


class TextRows:
    """Consecutive rows of a table, as text until asked for.

    Args:
      path: the file.
      first_line: number of the first row's line, from 1.
      batch: text of each field.
      text_format: of the file.
    """

    def __init__(self, path: Path, first_line: int, batch: pa.RecordBatch, text_format: TextFormat):
        self._path, self._first_line, self._batch, self._format = path, first_line, batch, text_format

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    @property
    def lines(self) -> np.ndarray:
        """Number of each row's line, int64 [n]."""
        return self._first_line + np.arange(len(self), dtype=np.int64)

    def values(self, name: str) -> Converted:
        """A field: int64 or float32 [n], or Arrow strings; missing values are the markers.

        Raises:
          InputError: a value is not of the field's kind.
        """
        kind, texts = self._format.fields[name], self.texts(name)
        right = pc.match_substring_regex(texts, kind.whole_pattern)
        if not pc.all(right, min_count=0).as_py():
            self.refuse(~right.to_numpy(zero_copy_only=False), name, kind.expected)
        return _converted(texts, kind)

    def integers(self, name: str) -> np.ndarray:
        """As `values`, of a field of integers."""
        return np.asarray(self.values(name))

    def texts(self, name: str) -> pa.Array:
        """A field as it stands in the file."""
        return self._batch.column(self._batch.schema.get_field_index(name))

    def refuse(self, bad: np.ndarray, name: str, expected: str, fix: str = _REPAIR) -> None:
        """Stops at the first bad row, if there is any.

        Args:
          bad: bool [n].
          name: the field.
          expected: what should stand there.
          fix: what the user can do.

        Raises:
          InputError: some row is bad.
        """
        if bad.any():
            row = int(np.argmax(bad))
            where = f"{self._path}, line {self._first_line + row}, field {name}"
            raise InputError(where, repr(self.texts(name)[row].as_py()), expected, fix)


def text_rows(path: Path, text_format: TextFormat, block_bytes: int = BLOCK_BYTES) -> Iterator[TextRows]:
    """All rows of a file, in blocks.

    Args:
      path: the file.
      text_format: what stands in it.
      block_bytes: raw bytes in memory at once, about.

    Raises:
      InputError: the header or the number of fields of a line is wrong, or the file is no text.
    """
    names, line = _names(path, text_format), 1 + text_format.header
    skipped = len(read_first_line(path)) if text_format.header else 0
    for chunk in line_chunks(path, block_bytes, skipped):
        data = read_bytes(chunk)
        batch = _parsed(data, path, line, names, text_format)
        yield TextRows(path, line, batch, text_format)
        line += batch.num_rows


def check_text(path: Path, text_format: TextFormat) -> None:
    """Looks at a file's first lines: the right header, and at least one row below it.

    Raises:
      InputError: what is wrong.
    """
    _names(path, text_format)
    start = len(read_first_line(path)) if text_format.header else 0
    if os.path.getsize(path) == start:
        raise InputError(str(path), "a header and no rows", "rows below the header", _AGAIN)


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


def _converted(texts: pa.Array, kind: FieldKind) -> Converted:
    absent = pc.is_in(texts, pa.array(kind.missing, pa.string())) if kind.missing else None
    if kind.dtype == "string":
        return texts if absent is None else pc.if_else(absent, "", texts)
    if absent is not None:
        texts = pc.if_else(absent, pa.scalar(None, pa.string()), texts)
    if kind.dtype == "float":
        return texts.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
    whole = pc.replace_substring_regex(texts, r"\.0+$", "") if absent is not None else texts
    return pc.fill_null(whole.cast(pa.int64()), MISSING_INT).to_numpy(zero_copy_only=False)


def _parsed(data: bytes, path: Path, line: int, names: list[str], text_format: TextFormat) -> pa.RecordBatch:
    """The text of whole lines, of which the first is `line`."""
    delimiter = text_format.delimiter
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if len(delimiter) > 1:
        # The parser knows delimiters of one character; of the files with longer ones, some hold Latin-1.
        data, delimiter = _utf8(data).replace(delimiter.encode(), b"\t"), "\t"
    quote = '"' if text_format.quoted else False
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            csv.ParseOptions(delimiter=delimiter, quote_char=quote, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=False,
                include_columns=list(text_format.fields),
            ),
        ).combine_chunks()
    except pa.ArrowInvalid as error:
        raise _fault(path, line, str(error), text_format) from error
    if table.num_rows != lines:
        where = f"{path}, lines {line} to {line + lines - 1}"
        received = f"{table.num_rows} rows in {lines} lines"
        raise InputError(where, received, "a row a line", "look for a double quote that is not closed on its line")
    return table.to_batches()[0]


def _utf8(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()
    return data


def _names(path: Path, text_format: TextFormat) -> list[str]:
    """Names of all columns of a file, those of `text_format.fields` where they stand."""
    wanted = list(text_format.fields)
    if not os.path.getsize(path):
        raise InputError(str(path), "an empty file", text_format.expected, _AGAIN)
    if not text_format.header:
        return wanted
    first = read_first_line(path).removeprefix(b"\xef\xbb\xbf").decode(errors="replace").rstrip("\r\n")
    found = [name.strip() for name in next(python_csv.reader([first], delimiter=text_format.delimiter), [])]
    where = f"{path}, line 1"
    if text_format.by_position:
        if len(found) != len(wanted):
            raise InputError(where, f"{len(found)} fields", text_format.expected, "use the raw file")
        if found[0].isdigit():
            raise InputError(where, f"{found[0]!r} in the first field", "a header", "use the raw file, with its header")
        return wanted
    names = [text_format.other_names.get(name, name) for name in found]
    for name in wanted:
        if names.count(name) != 1:
            received = f"columns {', '.join(found)}"
            fix = "use the raw file, with its header"
            raise InputError(where, received, f"one column {name!r}; all: {', '.join(wanted)}", fix)
    # Columns that are not read may have any names, even twice.
    return [name if name in text_format.fields else f"_{index}" for index, name in enumerate(names)]


def _fault(path: Path, line: int, message: str, text_format: TextFormat) -> InputError:
    found = _FAULT.search(message)
    if found is None:
        return InputError(str(path), f"bytes that are not lines of text ({message})", text_format.expected, _AGAIN)
    where = f"{path}, line {line + int(found[1]) - 1}"
    if found[2] is None:
        return InputError(where, message, "text in UTF-8", _REPAIR)
    return InputError(where, f"{found[3]} fields", f"{found[2]} fields", _REPAIR)
