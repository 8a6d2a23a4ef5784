"""Criteo Kaggle display advertising: 13 counts and 26 hashed categories of an ad impression."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.errors import InputError
from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Space, Split
from transforms.sources.base import Source, SourceOptions
from transforms.sources.criteo_options import CATEGORIES, FIELDS, NUMBERS, CriteoOptions

if TYPE_CHECKING:
    import apache_beam as beam

SPACE = "criteo"
LOWEST_NUMBER = -10
"""Counts are 0 or more but for a few codes of -1 to -3; anything far below is a damaged file."""

_STEMS: dict[str, Split] = {"train": "train", "dev": "eval", "valid": "eval", "val": "eval", "test": "test"}
_SUFFIXES = (".txt", ".csv", ".tsv")


class Criteo(Source):
    """Rows of Criteo's `train.txt`: tab-separated, no header, 40 fields.

    The input folder holds `train.txt` alone, which is split at random 8:1:1 by seed and line (a
    `test.txt` without labels, as Kaggle gave it, is left aside), or files that come split:
    `train`, `dev` (or `valid`, `val`) and `test`, each `.txt`, `.csv` or `.tsv`.

    Criteo names neither users nor items, so `user_id` and `item_id` are missing (empty), and gives
    no time: `timestamp` is the line's ordinal in its file (0 first), which is in order of time but
    has no unit. `request_id` is `<file>:<line>`, lines counted from 1.
    """

    name: ClassVar[str] = "criteo"
    summary: ClassVar[str] = "Criteo Kaggle ad clicks: 13 counts, 26 hashed categories; rows"
    licence: ClassVar[str] = "Kaggle competition terms: research only, no redistribution"
    where: ClassVar[str] = "https://www.kaggle.com/c/criteo-display-ad-challenge (train.txt)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = CriteoOptions
    options: CriteoOptions

    def feature_set(self) -> FeatureSet:
        encoding = self.options.number_encoding
        shared = SPACE if encoding is Encoding.SQUARED_LOG else ""
        numbers = tuple(Feature(name=name, encoding=encoding, space=shared) for name in NUMBERS)
        categories = tuple(Feature(name=name, encoding=Encoding.ID, space=SPACE) for name in CATEGORIES)
        return FeatureSet(
            columns=(
                *(Column(name=name, dtype="float", entity="context", min_value=LOWEST_NUMBER) for name in NUMBERS),
                *(Column(name=name, dtype="string", entity="context") for name in CATEGORIES),
            ),
            features=numbers + categories,
            spaces=(Space(name=SPACE, prefix=True, frequency_threshold=self.options.frequency_threshold),),
        )

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        for path, _ in input_files(input_dir):
            _check_start(path)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.criteo_reader import ReadCriteo

        return ReadCriteo(input_files(input_dir), self.options)

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        files = {path.name: split or "random 8:1:1" for path, split in input_files(input_dir)}
        return {**super().origin(input_dir), "files": files}


def input_files(input_dir: str | os.PathLike[str]) -> list[tuple[Path, Split | None]]:
    """The raw files of a folder with their splits; None: split at random.

    Raises:
      InputError: no folder, no file of a known name, or two files for one split.
    """
    folder = Path(input_dir)
    expected = "train.txt, or train, dev and test with .txt, .csv or .tsv"
    if not folder.is_dir():
        raise InputError(str(folder), "no such directory", f"a directory with {expected}", "correct --input")
    found: dict[Split, Path] = {}
    for path in sorted(folder.iterdir()):
        split = _STEMS.get(path.stem) if path.suffix in _SUFFIXES and path.is_file() else None
        if split is None or (split == "test" and _without_labels(path)):
            continue
        if split in found:
            names = f"{found[split].name} and {path.name}"
            raise InputError(str(folder), f"{names}, both for the split {split!r}", "one file a split", "move one away")
        found[split] = path
    if not found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty directory"
        raise InputError(str(folder), names, expected, "rename the files or correct --input")
    if list(found) == ["train"]:
        return [(found["train"], None)]
    return [(found[split], split) for split in ("train", "eval", "test") if split in found]


def _first_line(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.readline(1 << 16).rstrip(b"\r\n")


def _without_labels(path: Path) -> bool:
    return _first_line(path).count(b"\t") + 2 == len(FIELDS)


def _check_start(path: Path) -> None:
    line = _first_line(path)
    if not os.path.getsize(path):
        raise InputError(str(path), "an empty file", "lines of 40 fields", "get the file again")
    count = line.count(b"\t") + 1
    if count != len(FIELDS):
        fix = "use the raw file, tab-separated and without a header"
        raise InputError(f"{path}, line 1", f"{count} fields", "40 fields: label, I1-I13, C1-C26", fix)
