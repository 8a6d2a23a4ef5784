"""Formats of a log's files: the raw columns of a chunk as Arrow tables, and where each record stands."""

import csv as python_csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np

from transforms.arrow import csv, pa, pc, pq, reading
from transforms.errors import InputError
from transforms.plain_text import parse_json
from transforms.sources.table.files import WHOLE_FILE, Chunk, LogFile, header_line, opened
from transforms.sources.table.key_types import Decimal
from transforms.sources.table.lists import array_of
from transforms.sources.table.parts import Csv

BATCH_RECORDS = 50_000
LOOK_BYTES = 1 << 20
"""Bytes of a file of JSON Lines at which the first look looks."""
_MARK = b"\xef\xbb\xbf"
_FAULT = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


@dataclass(frozen=True)
class RawRows:
    """Consecutive records of a file.

    Args:
      columns: by name, as the file has them.
      order: int64 [n], rising in the file.
      place: from the place of a record here to where it stands, `clicks.csv, line 7`.
      decimal: the decimal mark of numbers in CSV and TSV files; None: of another format.
    """

    columns: pa.Table
    order: np.ndarray
    place: Callable[[int], str]
    decimal: Decimal | None = None


def read_rows(chunk: Chunk, dialect: Csv, columns: Sequence[str]) -> Iterator[RawRows]:
    """Reads columns of a chunk; a column of structs is named with dots, `user.id`.

    Raises:
      InputError: the file is malformed or lacks a column.
    """
    file = chunk.file
    decimal = dialect.decimal if file.format in ("csv", "tsv") else None
    with reading(file.name, f"a file that is not {file.format}", f"a {file.format} file"):
        for rows in _READERS[file.format](chunk, dialect, columns):
            table = rows.columns
            for name, value in file.partitions:
                if name in columns and name not in table.column_names:
                    table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
            yield RawRows(table, rows.order, rows.place, decimal)


def column_names(file: LogFile, dialect: Csv) -> list[str]:
    """Returns the names of a file's columns; of JSON and TFRecords those of its first records.

    Raises:
      InputError: the file is malformed.
    """
    names: list[str] = []
    with reading(file.name, f"a file that is not {file.format}", f"a {file.format} file"):
        if file.format in ("csv", "tsv"):
            names = _csv_names(file, dialect)
        elif file.format == "parquet":
            with opened(file) as stream:
                names = list(pq.ParquetFile(stream).schema_arrow.names)
        elif file.format == "avro":
            with opened(file) as stream:
                names = _avro_names(stream)
        else:
            # A last line without an end is a block by itself.
            first = islice(_READERS[file.format](Chunk(file, 0, WHOLE_FILE, LOOK_BYTES), dialect, ()), 2)
            names = list(dict.fromkeys(name for rows in first for name in rows.columns.column_names))
    return [*names, *(name for name, _ in file.partitions if name not in names)]


def _avro_names(stream: Any) -> list[str]:
    import fastavro

    try:
        schema = fastavro.reader(stream).writer_schema
    except Exception as error:
        raise ValueError("no header of Avro") from error
    fields = schema.get("fields", []) if isinstance(schema, dict) else []
    return [str(field["name"]) for field in fields]


def _csv_names(file: LogFile, dialect: Csv) -> list[str]:
    if not dialect.header:
        return list(dialect.columns)
    line = header_line(file).removeprefix(_MARK)
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file.name}, line 1", "bytes that are not UTF-8", "a header", "convert it to UTF-8"
        ) from error
    quote = _quote(file, dialect)
    options = {"quotechar": quote} if quote else {"quoting": python_csv.QUOTE_NONE}
    try:
        names = next(python_csv.reader([text], delimiter=_delimiter(file, dialect), **options), [])
    except python_csv.Error as error:
        if "\r" not in text:
            raise InputError(
                f"{file.name}, line 1", f"no header ({error})", "names of columns", "correct it"
            ) from error
        received, fix = "lines that end with a carriage return alone", "convert the line ends, e.g. by `mac2unix`"
        raise InputError(file.name, received, "lines that end with a line feed", fix) from error
    return [name.strip() or f"_{place}" for place, name in enumerate(names)]


def _delimiter(file: LogFile, dialect: Csv) -> str:
    return dialect.delimiter or ("\t" if file.format == "tsv" else ",")


def _quote(file: LogFile, dialect: Csv) -> str:
    return ("" if file.format == "tsv" else '"') if dialect.quote is None else dialect.quote


def _blocks(chunk: Chunk, skipped: int) -> Iterator[tuple[int, bytes]]:
    """Gives whole lines with their offset in the decompressed file."""
    offset = chunk.start if chunk.stop != WHOLE_FILE else skipped
    remaining = chunk.stop - chunk.start if chunk.stop != WHOLE_FILE else None
    with opened(chunk.file) as stream:
        if remaining is not None:
            stream.seek(chunk.start)
            yield offset, stream.read(remaining)
            return
        stream.read(skipped)
        rest = b""
        while data := stream.read(chunk.block_bytes):
            data = rest + data
            end = data.rfind(b"\n") + 1
            if end:
                yield offset, data[:end]
                offset += end
            rest = data[end:]
        if rest:
            yield offset, rest


def _line_place(chunk: Chunk, offset: int, data: bytes) -> Callable[[int], str]:
    """Counts lines only for a message."""

    def place(row: int) -> str:
        full = [number for number, line in enumerate(data.split(b"\n")) if line.strip(b"\r")]
        lines, left = 0, offset
        with opened(chunk.file) as stream:
            while left > 0 and (block := stream.read(min(left, 1 << 20))):
                lines, left = lines + block.count(b"\n"), left - len(block)
        return f"{chunk.file.name}, line {lines + full[row] + 1 if row < len(full) else '?'}"

    return place


def _read_csv(chunk: Chunk, dialect: Csv, columns: Sequence[str]) -> Iterator[RawRows]:
    file, names = chunk.file, _csv_names(chunk.file, dialect)
    wanted = [name for name in columns if name in names] or names
    read = csv.ReadOptions(use_threads=False, column_names=_distinct(names))
    quote = _quote(file, dialect)
    parse = csv.ParseOptions(
        delimiter=_delimiter(file, dialect), quote_char=quote or False, newlines_in_values=dialect.multiline
    )
    convert = csv.ConvertOptions(
        column_types={name: pa.string() for name in wanted},
        include_columns=wanted,
        null_values=list(dialect.missing),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    header = len(header_line(file)) if dialect.header else 0
    if dialect.multiline:
        with opened(file) as stream:
            stream.read(header)
            first = 0
            try:
                for batch in csv.open_csv(stream, read, parse, convert):
                    yield _numbered(pa.Table.from_batches([batch]), first, _record_place(file, first))
                    first += batch.num_rows
            except pa.ArrowInvalid as error:
                raise _csv_error(error, _record_place(file, first), b"") from error
        return
    for offset, data in _blocks(chunk, header):
        place = _line_place(chunk, offset, data)
        read.block_size = len(data) + len(_MARK) + 1
        # Arrow takes a byte order mark from the start of whatever it reads, also where it is the first value's.
        mark = _MARK if offset and data.startswith(_MARK) else b""
        try:
            table = csv.read_csv(io.BytesIO(mark + data), read, parse, convert)
        except pa.ArrowInvalid as error:
            raise _csv_error(error, place, data) from error
        lines = sum(1 for _ in _lines_of(data)) if quote and quote.encode() in data else table.num_rows
        if lines != table.num_rows:
            received = f"{table.num_rows} records in {lines} lines from here on"
            fix = "set csv: {multiline: true} if fields hold line breaks, or csv: {quote: ''} if quotes mean nothing"
            raise InputError(place(0), received, "a record in each line", fix)
        yield _numbered(table, offset, place)


def _lines_of(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if line.strip(b"\r"))


def _distinct(names: Sequence[str]) -> list[str]:
    """Renames what stands twice; nobody can ask for the second."""
    return [name if name not in names[:place] else f"{name} ({place})" for place, name in enumerate(names)]


def _not_utf8(data: bytes) -> int:
    """Returns the place of the first line with bytes that are not UTF-8."""
    for row, line in enumerate(_lines_of(data)):
        try:
            line.decode()
        except UnicodeDecodeError:
            return row
    return 0


def _csv_error(error: Exception, place: Callable[[int], str], data: bytes) -> InputError:
    match = _FAULT.search(str(error))
    if match is None:
        utf8 = "UTF8" in str(error)
        received = "bytes that are not UTF-8" if utf8 else " ".join(str(error).split())
        where, fix = place(_not_utf8(data) if utf8 else 0), "convert the file to UTF-8, or correct `csv`"
        return InputError(where, received, "lines of text in UTF-8", fix)
    fix = "correct the line, or `csv` (delimiter, quote, columns)"
    return InputError(place(int(match[1]) - 1), f"{match[3]} fields", f"{match[2]} fields", fix)


def _read_jsonl(chunk: Chunk, _: Csv, columns: Sequence[str]) -> Iterator[RawRows]:
    for offset, data in _blocks(chunk, 0):
        place = _line_place(chunk, offset, data)
        records = []
        for row, line in enumerate(_lines_of(data.removeprefix(_MARK) if offset == 0 else data)):
            try:
                record = parse_json(line.decode())
            except UnicodeDecodeError as error:
                fix = "convert the file to UTF-8"
                raise InputError(place(row), "bytes that are not UTF-8", "text in UTF-8", fix) from error
            except ValueError as error:
                raise InputError(
                    place(row), f"text that is not JSON ({error})", "an object a line", "correct it"
                ) from error
            if not isinstance(record, dict):
                raise InputError(place(row), type(record).__name__, "an object a line", "correct it")
            records.append(record)
        yield _numbered(from_records(records, columns), offset, place)


def _read_avro(chunk: Chunk, _: Csv, columns: Sequence[str]) -> Iterator[RawRows]:
    import fastavro

    first, file = 0, chunk.file
    with opened(file) as stream:
        # Damaged bytes make the reader raise whatever they lead to.
        try:
            records = iter(fastavro.reader(stream))
        except Exception as error:
            raise ValueError("no header of Avro") from error
        try:
            while batch := cast(list[dict[str, Any]], list(islice(records, BATCH_RECORDS))):
                columns_read = from_records(batch, columns)
                yield _numbered(columns_read, first, _record_place(file, first))
                first += len(batch)
        except InputError:
            raise
        except Exception as error:
            raise _damaged(file, first, "Avro") from error


def _read_parquet(chunk: Chunk, _: Csv, columns: Sequence[str]) -> Iterator[RawRows]:
    with opened(chunk.file) as stream:
        parquet = pq.ParquetFile(stream)
        names = parquet.schema_arrow.names
        tops = dict.fromkeys(column if column in names else column.partition(".")[0] for column in columns)
        wanted = [name for name in tops if name in names] or names
        stop = parquet.num_row_groups if chunk.stop == WHOLE_FILE else chunk.stop
        first = sum(parquet.metadata.row_group(group).num_rows for group in range(chunk.start))
        groups = list(range(chunk.start, stop))
        for batch in parquet.iter_batches(BATCH_RECORDS, row_groups=groups, columns=wanted, use_threads=False):
            table = pa.Table.from_batches([batch])
            for column in columns:
                if column not in names and "." in column and column.partition(".")[0] in names:
                    values = member(table, column)
                    table = table if values is None else table.append_column(column, values)
            yield _numbered(table, first, _record_place(chunk.file, first))
            first += batch.num_rows


def _read_tfrecord(chunk: Chunk, _: Csv, __: Sequence[str]) -> Iterator[RawRows]:
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    decoder, first = example_coder.ExamplesToRecordBatchDecoder(), 0
    compression = {"gzip": "GZIP", None: ""}.get(chunk.file.compression)
    if compression is None:
        fix = "compress TFRecords by gzip, or not at all"
        raise InputError(chunk.file.name, f"a TFRecord file in {chunk.file.compression}", "plain or gzip", fix)
    dataset = tf.data.TFRecordDataset([chunk.file.path], compression_type=compression).batch(BATCH_RECORDS)
    batches = dataset.as_numpy_iterator()
    while True:
        try:
            serialized = next(batches, None)
        except tf.errors.OpError as error:
            raise _damaged(chunk.file, first, "TFRecord") from error
        if serialized is None:
            return
        try:
            table = pa.Table.from_batches([decoder.DecodeBatch(serialized.tolist())])
        except (RuntimeError, ValueError) as error:
            where = f"{chunk.file.name}, one of the {len(serialized):,} records from {first + 1:,} on"
            received = "bytes that are no tf.Example, or a feature of another type than in other records"
            raise InputError(where, received, "tf.Examples with the same types", "write the file again") from error
        yield _numbered(table, first, _record_place(chunk.file, first))
        first += table.num_rows


def _damaged(file: LogFile, records: int, kind: str) -> InputError:
    where = f"{file.name}, after record {records:,} or one of the {BATCH_RECORDS:,} that follow it"
    return InputError(where, "damaged bytes, or a file that was cut off", f"whole {kind} records", "get it again")


def _numbered(columns: pa.Table, first: int, place: Callable[[int], str]) -> RawRows:
    return RawRows(columns, first + np.arange(columns.num_rows, dtype=np.int64), place)


def _record_place(file: LogFile, first: int) -> Callable[[int], str]:
    return lambda row: f"{file.name}, record {first + row + 1}"


def member(table: pa.Table, column: str) -> pa.ChunkedArray | None:
    """Returns a member of a column of structs, by its dotted name; None: there is none."""
    top, *members = column.split(".")
    values = table[top]
    for member in members:
        place = values.type.get_field_index(member) if pa.types.is_struct(values.type) else -1
        if place < 0:
            return None
        values = pc.struct_field(values, [place])
    return values


def from_records(records: list[dict[str, Any]], columns: Sequence[str]) -> pa.Table:
    """Returns columns of records, or all where none are named; one of several types becomes texts."""
    names = columns or list(dict.fromkeys(name for record in records for name in record))
    arrays = []
    for name in names:
        values = [record.get(name) for record in records]
        if "." in name and all(value is None for value in values):
            values = [_dotted(record, name) for record in records]
        arrays.append(array_of(values))
    return pa.Table.from_arrays(arrays, list(names))


def _dotted(record: Any, name: str) -> Any:
    for part in name.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


_READERS: dict[str, Callable[[Chunk, Csv, Sequence[str]], Iterator[RawRows]]] = {
    "csv": _read_csv,
    "tsv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "avro": _read_avro,
    "tfrecord": _read_tfrecord,
}
