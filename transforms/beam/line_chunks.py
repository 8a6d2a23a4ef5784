"""Byte ranges of a text file that hold whole lines, so that one file is read by many workers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 1 << 16


@dataclass(frozen=True, order=True)
class LineChunk:
    """The lines that start in bytes [start, stop) of a file.

    Args:
      path: the file.
      index: number of the chunk in its file.
      start: where its first line starts.
      stop: one past its last byte.
    """

    path: str
    index: int
    start: int
    stop: int


def line_chunks(path: str | os.PathLike[str], chunk_bytes: int, skipped_bytes: int = 0) -> list[LineChunk]:
    """Cuts a file into chunks of about `chunk_bytes` (longer by at most one line), by position only.

    Args:
      path: the file.
      chunk_bytes: see above.
      skipped_bytes: so many bytes at the start, whole lines, belong to no chunk: a header.
    """
    size = os.path.getsize(path)
    borders = [skipped_bytes]
    with open(path, "rb") as file:
        while borders[-1] < size:
            borders.append(_line_start(file, borders[-1] + chunk_bytes, size))
    return [LineChunk(str(path), i, *pair) for i, pair in enumerate(zip(borders, borders[1:], strict=False))]


def read_bytes(chunk: LineChunk) -> bytes:
    """The bytes of a chunk."""
    with open(chunk.path, "rb") as file:
        file.seek(chunk.start)
        return file.read(chunk.stop - chunk.start)


def count_lines(chunk: LineChunk) -> int:
    """Lines of a chunk; a last line without a line end counts."""
    data = read_bytes(chunk)
    return data.count(b"\n") + (not data.endswith(b"\n"))


def lines_before(chunk: LineChunk, counts: Mapping[tuple[str, int], int]) -> int:
    """Lines of the file that stand before a chunk, given the lines of each `(path, index)`."""
    return sum(counts[chunk.path, index] for index in range(chunk.index))


def _line_start(file: BinaryIO, position: int, size: int) -> int:
    if position >= size:
        return size
    file.seek(position - 1)
    while block := file.read(_BLOCK):
        end = block.find(b"\n")
        if end >= 0:
            return file.tell() - len(block) + end + 1
    return size
