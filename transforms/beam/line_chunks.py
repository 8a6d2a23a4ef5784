"""Byte ranges of a text file that hold whole lines, so that one file is read by many workers."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import apache_beam as beam
from apache_beam.pvalue import AsDict

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
      skipped_bytes: bytes of whole lines at the start that belong to no chunk: a header.
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


def count_lines(data: bytes) -> int:
    """Lines of a text; a last line without a line end counts."""
    return data.count(b"\n") + (not data.endswith(b"\n"))


class SpreadChunks(beam.PTransform):
    """Gives `(chunk, lines of its file before it, lines of its file)` on many workers.

    Args:
      chunks: all chunks of some files.
    """

    def __init__(self, chunks: Sequence[LineChunk]):
        super().__init__()
        self._chunks = list(chunks)

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        chunks = root | "Chunks" >> beam.Create(self._chunks)
        counts = chunks | "CountLines" >> beam.Map(_counted)
        return chunks | "Spread" >> beam.Reshuffle() | "Place" >> beam.Map(_placed, AsDict(counts))


def _counted(chunk: LineChunk) -> tuple[tuple[str, int], int]:
    return (chunk.path, chunk.index), count_lines(read_bytes(chunk))


def _placed(chunk: LineChunk, counts: Mapping[tuple[str, int], int]) -> tuple[LineChunk, int, int]:
    of_file = {index: lines for (path, index), lines in counts.items() if path == chunk.path}
    return chunk, sum(lines for index, lines in of_file.items() if index < chunk.index), sum(of_file.values())


def _line_start(file: BinaryIO, position: int, size: int) -> int:
    if position >= size:
        return size
    file.seek(position - 1)
    while block := file.read(_BLOCK):
        end = block.find(b"\n")
        if end >= 0:
            return file.tell() - len(block) + end + 1
    return size
