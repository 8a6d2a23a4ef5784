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


def counted(folder: str | os.PathLike[str]) -> int:
    """Returns the records that all workers have counted so far."""
    return sum(int(file.read_text() or 0) for file in Path(folder).glob(f"{_PREFIX}*"))
