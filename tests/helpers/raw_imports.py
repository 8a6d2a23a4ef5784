"""Imports of small raw folders, and refusals that must leave nothing behind."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.imported_records import records_of
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.records import Dataset, load_dataset
from transforms.sources.registry import get_source


def imported(name: str, root: Path, **options: Any) -> Dataset:
    """Imports `root/raw` as `root/out`."""
    return import_dataset(get_source(name, options), root / "raw", root / "out")


def rows_of(directory: Path) -> list[dict[str, Any]]:
    """The rows of all splits in order, each with its split."""
    present = [split for split in SPLITS if split in load_dataset(directory).records["row"]]
    return [{**row, "split": split} for split in present for row in records_of(directory, "row", split)]


def refused(name: str, root: Path, message: str, **options: Any) -> None:
    """Fails unless an import of `root/raw` is refused with the message, and leaves nothing."""
    with pytest.raises(InputError, match=message):
        imported(name, root, **options)
    assert sorted(os.listdir(root)) == ["raw"], "something was left behind"


def refused_line(name: str, root: Path, where: str, received: str, **options: Any) -> None:
    """As `refused`, by what the error says of the line."""
    with pytest.raises(InputError) as error:
        imported(name, root, **options)
    assert where in error.value.where
    assert received in str(error.value.received)
    assert error.value.fix
    assert sorted(os.listdir(root)) == ["raw"], "something was left behind"


def write_raw(root: Path, **files: list[str]) -> None:
    """Writes lines of files of `root/raw`; `ratings__csv` is `ratings.csv`."""
    write_texts(root, **{name: "".join(f"{line}\n" for line in lines) for name, lines in files.items()})


def write_texts(root: Path, **files: str) -> Path:
    """Writes files of `root/raw`, and returns it; `ratings__csv` is `ratings.csv`."""
    folder = root / "raw"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder
