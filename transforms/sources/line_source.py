"""Sources whose raw files are lines: which files a folder holds, and whether they begin as they should."""

import os
from pathlib import Path
from typing import Any, ClassVar

from transforms.errors import InputError
from transforms.features import Split
from transforms.sources.base import Source
from transforms.sources.line_format import LineFormat, LineOptions

_STEMS: dict[str, Split] = {"train": "train", "dev": "eval", "valid": "eval", "val": "eval", "test": "test"}
_SUFFIXES = (".txt", ".csv", ".tsv")
_SPLITS_ALONE = {"random": "random 8:1:1", "time": "in order of time 8:1:1"}


class LineSource(Source):
    """A source of lines.

    The input folder holds the train file alone, which is split as `LineOptions.splits` says (a test
    file without labels, as competitions give it, is left aside), or files that come split: `train`,
    `dev` (or `valid`, `val`) and `test`, each `.txt`, `.csv` or `.tsv`.

    Class attributes:
      line_format: what stands in a line.
    """

    line_format: ClassVar[LineFormat]
    options: LineOptions

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        for path, _ in input_files(input_dir, self.line_format):
            _check_start(path, self.line_format)

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        alone = _SPLITS_ALONE[self.options.splits]
        files = {path.name: split or alone for path, split in input_files(input_dir, self.line_format)}
        return {"source": self.name, "options": self.options.model_dump(mode="json"), "files": files}


def input_files(input_dir: str | os.PathLike[str], line_format: LineFormat) -> list[tuple[Path, Split | None]]:
    """The raw files of a folder with their splits; None: to be split as the options say.

    Raises:
      InputError: no folder, no file of a known name, or two files for one split.
    """
    folder = Path(input_dir)
    expected = f"{line_format.file}, or train, dev and test with .txt, .csv or .tsv"
    if not folder.is_dir():
        raise InputError(str(folder), "no such directory", f"a directory with {expected}", "correct --input")
    found: dict[Split, Path] = {}
    for path in sorted(folder.iterdir()):
        split = _STEMS.get(path.stem) if path.suffix in _SUFFIXES and path.is_file() else None
        if split is None or (split == "test" and _without_labels(path, line_format)):
            continue
        if split in found:
            both = f"{found[split].name} and {path.name}, both for the split {split!r}"
            raise InputError(str(folder), both, "one file a split", "move one away")
        found[split] = path
    if not found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty directory"
        raise InputError(str(folder), names, expected, "rename the files or correct --input")
    if list(found) == ["train"]:
        return [(found["train"], None)]
    return [(found[split], split) for split in ("train", "eval", "test") if split in found]


def read_first_line(path: str | os.PathLike[str]) -> bytes:
    """The first line of a file with its end; at most 64 KiB of it."""
    with open(path, "rb") as file:
        return file.readline(1 << 16)


def _fields(path: Path, line_format: LineFormat) -> list[str]:
    text = read_first_line(path).rstrip(b"\r\n").decode(errors="replace")
    return text.split(line_format.delimiter)


def _without_labels(path: Path, line_format: LineFormat) -> bool:
    return len(_fields(path, line_format)) + 1 == len(line_format.fields)


def _check_start(path: Path, line_format: LineFormat) -> None:
    if not os.path.getsize(path):
        raise InputError(str(path), "an empty file", f"lines of {len(line_format.fields)} fields", "get the file again")
    where, found, wanted = f"{path}, line 1", _fields(path, line_format), list(line_format.fields)
    if line_format.header:
        expected, fix = f"the header {','.join(wanted)}", "use the raw file, separated by commas and with its header"
    else:
        expected, fix = line_format.expected, "use the raw file, tab-separated and without a header"
    if len(found) != len(wanted):
        raise InputError(where, f"{len(found)} fields", expected, fix)
    if not line_format.header:
        return
    for column, (name, right) in enumerate(zip(found, wanted, strict=True), start=1):
        if name != right:
            raise InputError(where, f"{name!r} in column {column}", expected, fix)
    if os.path.getsize(path) == len(read_first_line(path)):
        raise InputError(str(path), "a header and no rows", "rows below the header", "get the file again")
