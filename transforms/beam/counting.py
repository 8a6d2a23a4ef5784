"""Counts what passes through a pipeline while it runs, for progress: workers write files that the launcher adds up."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

_WRITTEN_EVERY_S = 0.5
_PREFIX = "count-"


class Count(beam.DoFn):
    """Passes elements on unchanged, and counts their records in a file; without the folder it counts nothing.

    Args:
      folder: on a file system that workers and launcher share; of this counter alone.
      size: returns the number of records of an element.
    """

    def __init__(self, folder: str | os.PathLike[str], size: Callable[[Any], int]):
        self._folder, self._size = os.fspath(folder), size

    def setup(self) -> None:
        self._file = Path(self._folder, f"{_PREFIX}{uuid.uuid4().hex}")
        self._count, self._written = 0, time.monotonic()

    def process(self, element: Any) -> Iterator[Any]:
        self._count += self._size(element)
        if time.monotonic() - self._written >= _WRITTEN_EVERY_S:
            self._write()
        yield element

    def finish_bundle(self) -> None:
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        if os.path.isdir(self._folder):
            self._file.write_text(str(self._count))


class Counter:
    """Counts in a file what a worker has done; without the folder it counts nothing.

    Args:
      folder: as in `Count`; None: it counts nothing.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        self._folder = folder
        self._file: Path | None = None
        self._count = 0

    def add(self, count: int) -> None:
        """Adds to what is done."""
        if self._folder is None or not os.path.isdir(self._folder):
            return
        self._file = self._file or Path(self._folder, f"{_PREFIX}{uuid.uuid4().hex}")
        self._count += count
        self._file.write_text(str(self._count))


class ImportCounts:
    """How far an import is that computes histories or joins tables, in rows of the log.

    Args:
      folder: on a file system that workers and launcher share; None: nothing is counted.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        self._folder = None if folder is None else Path(folder, "counts")

    def create(self) -> None:
        """Makes the folders: from then on it counts."""
        for name in ("read", "bytes", "all_bytes", "computed", "stages", "sent", "finished"):
            self._of(name).mkdir(parents=True)

    def counter(self, name: str) -> Counter:
        """Returns what counts rows that are `read`, `computed` in one of the `stages`, `sent` to shards, `finished`.

        Also `bytes` of files that are read, of `all_bytes`.
        """
        return Counter(None if self._folder is None else self._of(name))

    def phase(self) -> tuple[str, int, int | None] | None:
        """Returns the title of the phase under way, rows done in it and all there are, if known; None: not begun."""
        if self._folder is None:
            return None
        read, finished, sent = (counted(self._of(name)) for name in ("read", "finished", "sent"))
        if finished:
            return "writing", finished, sent
        if computed := counted(self._of("computed")):
            total = read * counted(self._of("stages"))
            return ("computing", computed, total) if computed < total else ("writing", 0, sent)
        done, size = counted(self._of("bytes")), counted(self._of("all_bytes"))
        return ("reading", read, read * size // done if done else None) if read else None

    def _of(self, name: str) -> Path:
        return Path(self._folder or "", name)


def counted(folder: str | os.PathLike[str]) -> int:
    """Returns the records that all workers have counted so far."""
    return sum(int(file.read_text() or 0) for file in Path(folder).glob(f"{_PREFIX}*"))
