"""Sources whose lines are rows: one file, or files that come split, read chunk by chunk on many workers."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.arrow import pa
from transforms.batches import Batch
from transforms.beam.import_dataset import ReadChunks
from transforms.beam.line_chunks import LineChunk, SpreadChunks
from transforms.errors import InputError
from transforms.features import SPLITS, Split
from transforms.sources.options import LineOptions
from transforms.sources.text_format import TextFormat
from transforms.sources.text_table import Converted, TextRows, check_text, first_fields, read_chunk, text_chunks
from transforms.splits import SPLIT_ENDS, random_splits

_STEMS: dict[str, Split] = {"train": "train", "dev": "eval", "valid": "eval", "val": "eval", "test": "test"}
_SUFFIXES = (".txt", ".csv", ".tsv")
_SPLITS_ALONE = {"random": "random 8:1:1", "time": "in order of time 8:1:1"}

ToColumns = Callable[[TextRows, np.ndarray, str], dict[str, Converted]]
"""From rows, their ordinals in the file (0 first) and its name to the columns of records."""


@dataclass(frozen=True)
class LineReader:
    """Checks and reads a folder.

    It holds the train file alone, which is split as `LineOptions.splits` says (a test file without labels, as
    competitions give it, is left aside), or files that come split: `train`, `dev` (or `valid`, `val`) and `test`, each
    `.txt`, `.csv` or `.tsv`.

    Args:
      file: name of the file as it is published.
      text_format: what stands in it.
      to_columns: makes records of rows; a function of a module, since workers get it pickled.
      time_field: the field in whose order the lines stand; empty: they are taken to be in order of time.
    """

    file: str
    text_format: TextFormat
    to_columns: ToColumns
    time_field: str = ""

    def check(self, input_dir: str | os.PathLike[str], options: LineOptions) -> None:
        """Looks at the first lines of the files.

        Raises:
          InputError: what is wrong.
        """
        for path in self.files(input_dir):
            check_text(path, self.text_format)

    def read(self, input_dir: str | os.PathLike[str], options: LineOptions) -> "ReadLines":
        """Returns the Beam transform that reads a folder."""
        return ReadLines(self, self.files(input_dir), options)

    def origin(self, input_dir: str | os.PathLike[str], options: LineOptions) -> dict[str, Any]:
        """Returns the names of the files with their splits."""
        files = self.files(input_dir)
        return {"files": {path.name: split or _SPLITS_ALONE[options.splits] for path, split in files.items()}}

    def files(self, input_dir: str | os.PathLike[str]) -> dict[Path, Split | None]:
        """The raw files of a folder with their splits; None: to be split as the options say.

        Raises:
          InputError: no folder, no file of a known name, or two files for one split.
        """
        folder = Path(input_dir)
        expected = f"{self.file}, or train, dev and test with .txt, .csv or .tsv"
        if not folder.is_dir():
            raise InputError(str(folder), "no such directory", f"a directory with {expected}", "correct --input")
        paths: dict[Split, Path] = {}
        for path in sorted(folder.iterdir()):
            split = _STEMS.get(path.stem) if path.suffix in _SUFFIXES and path.is_file() else None
            if split is None or (split == "test" and self._lacks_labels(path)):
                continue
            if split in paths:
                both = f"{paths[split].name} and {path.name}, both for the split {split!r}"
                raise InputError(str(folder), both, "one file a split", "move one away")
            paths[split] = path
        if not paths:
            names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty directory"
            raise InputError(str(folder), names, expected, "rename the files or correct --input")
        if list(paths) == ["train"]:
            return {paths["train"]: None}
        return {paths[split]: split for split in SPLITS if split in paths}

    def _lacks_labels(self, path: Path) -> bool:
        return len(first_fields(path, self.text_format)) + 1 == len(self.text_format.fields)


class ReadLines(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of raw files.

    Args:
      reader: of the source.
      files: paths with their split; None: split as the options say.
      options: chunk size, rows a shard, split and seed.
    """

    def __init__(self, reader: LineReader, files: dict[Path, Split | None], options: LineOptions):
        super().__init__()
        self._read = ReadLineChunk(reader, files, options)
        self._chunks = [chunk for path in files for chunk in text_chunks(path, reader.text_format, options.chunk_bytes)]

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        return root | SpreadChunks(self._chunks) | "Parse" >> beam.ParDo(ReadChunks(self._read))


class ReadLineChunk:
    """Reads one chunk of lines.

    Args:
      reader, files, options: see `ReadLines`.
    """

    def __init__(self, reader: LineReader, files: dict[Path, Split | None], options: LineOptions):
        self._reader, self._options = reader, options
        self._splits = {str(path): split for path, split in files.items()}
        self._numbers = {path: number for number, path in enumerate(self._splits)}

    def __call__(self, placed: tuple[LineChunk, int, int]) -> Iterator[tuple[str, Batch]]:
        """Gives the batches of a chunk, with the rows of its file before it and in all."""
        chunk, first, total = placed
        rows = read_chunk(chunk, self._reader.text_format, first)
        ordinals = first + np.arange(len(rows), dtype=np.int64)
        columns = self._reader.to_columns(rows, ordinals, Path(chunk.path).name)
        splits = self._split_numbers(chunk.path, ordinals, total)
        if self._reader.time_field and self._is_in_order_of_time(chunk.path):
            _check_order(rows, self._reader.time_field)
        for piece, start in enumerate(range(0, len(rows), self._options.batch_rows)):
            part = slice(start, start + self._options.batch_rows)
            name = f"{self._numbers[chunk.path]}-{chunk.index:05d}-{piece:05d}"
            for number, split in enumerate(SPLITS):
                chosen = splits[part] == number
                if chosen.any():
                    yield (
                        name,
                        Batch("row", split, {key: _taken(column[part], chosen) for key, column in columns.items()}),
                    )

    def _is_in_order_of_time(self, path: str) -> bool:
        return self._splits[path] is None and self._options.splits == "time"

    def _split_numbers(self, path: str, ordinals: np.ndarray, total: int) -> np.ndarray:
        """The place of each row's split in `SPLITS`."""
        split = self._splits[path]
        if split is not None:
            return np.full(len(ordinals), SPLITS.index(split))
        if self._is_in_order_of_time(path):
            return np.searchsorted([round(total * end) for end in SPLIT_ENDS[:-1]], ordinals, side="right")
        return random_splits(ordinals, self._options.seed)


def _taken(values: Converted, chosen: np.ndarray) -> Converted:
    return values.filter(pa.array(chosen)) if isinstance(values, pa.Array) else values[chosen]


def _check_order(rows: TextRows, field: str) -> None:
    """Refuses lines whose time runs backwards."""
    times = rows.integers(field)
    back = np.diff(times, prepend=times[:1]) < 0
    if back.any():
        row = int(np.argmax(back))
        fix = "sort the file by that field, or import it with --option splits=random"
        received = f"{times[row]} after {times[row - 1]}"
        rows.refuse(back, field, "lines in order of time", fix, received)
