"""Files of a log: which there are, and how they are cut into chunks.

A chunk is what one worker reads at once: byte ranges of whole lines of plain text, row groups of Parquet, else a file.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote

from transforms.arrow import pa, pq, reading
from transforms.beam.line_chunks import line_chunks
from transforms.errors import InputError
from transforms.sources.table.key_types import Format
from transforms.sources.table.parts import COMPRESSIONS, FORMATS_BY_SUFFIX, Csv, Files

CHUNK_BYTES = 16 << 20
"""Raw bytes of text in memory at once; `_row` of text depends on it."""
WHOLE_FILE = -1


@dataclass(frozen=True)
class LogFile:
    """A file of a log.

    Args:
      path: where it is.
      name: relative to the declaration's folder, for messages.
      number: its place among the files, which are sorted by name.
      format: see `Files.format_of`.
      compression: `gzip`, `zstd`, `bz2` or None.
      partitions: columns by the folders in which it lies, `date=2026-01-01`; None: Hive's partition of missing values.
    """

    path: str
    name: str
    number: int
    format: Format
    compression: str | None
    partitions: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Chunk:
    """A part of a file: bytes [start, stop) of whole lines, a range of row groups, or with stop -1 the whole file.

    A whole file of text is read in blocks of `block_bytes`, about.
    """

    file: LogFile
    start: int = 0
    stop: int = WHOLE_FILE
    block_bytes: int = CHUNK_BYTES


def find_files(files: Files, folder: str | os.PathLike[str]) -> list[LogFile]:
    """Returns the files of a log or table, sorted by name.

    Raises:
      InputError: a pattern matches nothing, or the format of a file is unknown.
    """
    names: dict[str, Path] = {}
    for pattern in files.files:
        path = Path(folder, pattern)
        matches = _in_folder(path, files) if path.is_dir() else [path] if path.is_file() else _matches(folder, pattern)
        if not matches:
            received = "a folder without such files" if path.is_dir() else "no such file"
            expected = f"files that end with one of {', '.join((*FORMATS_BY_SUFFIX, *COMPRESSIONS))}"
            fix = "correct the path, in a declaration relative to its folder; set `format` there for other names"
            raise InputError(
                os.path.normpath(path), received, expected if path.is_dir() else "a file, a folder or a pattern", fix
            )
        names.update({os.path.relpath(match, folder): match for match in matches})
    return [
        LogFile(
            str(path),
            PurePath(name).as_posix(),
            number,
            files.format_of(path),
            COMPRESSIONS.get(path.suffix.lower()),
            _partitions(name),
        )
        for number, (name, path) in enumerate(sorted(names.items()))
    ]


def _partitions(name: str) -> tuple[tuple[str, str | None], ...]:
    """Columns by the folders of a path, written as Hive does: other characters as %20, and a missing value by name."""
    pairs = (part.partition("=") for part in PurePath(name).parts[:-1])
    values = ((unquote(key), unquote(value)) for key, _, value in pairs if value)
    return tuple((key, None if value == "__HIVE_DEFAULT_PARTITION__" else value) for key, value in values)


def _matches(folder: str | os.PathLike[str], pattern: str) -> list[Path]:
    # A pattern may be absolute, which Path.glob refuses.
    root = Path(PurePath(pattern).anchor or folder)
    try:
        return [path for path in root.glob(pattern.removeprefix(PurePath(pattern).anchor)) if path.is_file()]
    except (ValueError, NotImplementedError, OSError) as error:
        expected = "a pattern such as clicks/*.csv or logs/**/*.parquet, with ** alone between slashes"
        raise InputError("key 'files'", repr(pattern), expected, "correct the pattern") from error


def _in_folder(folder: Path, files: Files) -> list[Path]:
    def is_data(path: Path) -> bool:
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in COMPRESSIONS]
        known = files.format is not None or (bool(suffixes) and suffixes[-1] in FORMATS_BY_SUFFIX)
        return path.is_file() and not hidden and known

    try:
        return [path for path in folder.rglob("*") if is_data(path)]
    except OSError as error:
        received, fix = "a folder with files that cannot be read", "name the folder of the log alone"
        raise InputError(str(folder), received, "a folder of files", fix) from error


def chunks_of(file: LogFile, dialect: Csv, chunk_bytes: int = CHUNK_BYTES) -> list[Chunk]:
    """Cuts a file into chunks, by its content only.

    Raises:
      InputError: it is empty, or not Parquet.
    """
    if os.path.getsize(file.path) == 0:
        raise InputError(file.name, "an empty file", f"a {file.format} file", "remove it, or get it again")
    if file.format == "parquet" and file.compression is None:
        with reading(file.name, "a file that is not Parquet", "a Parquet file"):
            return [Chunk(file, group, group + 1) for group in range(pq.ParquetFile(file.path).num_row_groups)]
    is_text = file.format in ("csv", "tsv", "jsonl")
    if not is_text or file.compression is not None or dialect.multiline:
        return [Chunk(file)]
    header = len(header_line(file)) if file.format != "jsonl" and dialect.header else 0
    return [Chunk(file, part.start, part.stop) for part in line_chunks(file.path, chunk_bytes, header)]


def opened(file: LogFile) -> Any:
    """Opens a file for reading, decompressed; one that is compressed must be read in order, except Parquet."""
    if file.compression is None:
        return pa.OSFile(file.path)
    stream = pa.CompressedInputStream(pa.OSFile(file.path), file.compression)
    # Readers of Parquet and Avro jump to the end of the file.
    return pa.BufferReader(stream.read()) if file.format == "parquet" else stream


def header_line(file: LogFile) -> bytes:
    """Returns the first line of a file of text, with its end."""
    with opened(file) as stream:
        return io.BufferedReader(stream).readline(1 << 20)
