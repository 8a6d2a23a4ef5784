"""What baselines predicted, kept beside the dataset, so that the next evaluation on the same split has it at once."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from runs.provenance import code_version
from transforms.features import Split
from transforms.files import replacing_file

FOLDER = "baselines"
"""In the folder of the dataset."""
FITTED_ON: tuple[Split, ...] = ("train", "eval")
"""Splits that every baseline needs: one to fit on, one to choose settings by."""
OPTIONAL = ("lightgbm", "implicit")
_NOTES = "notes"


@dataclass(frozen=True)
class Predictions:
    """Of several baselines, for the examples or clicks of a split.

    Args:
      arrays: by name.
      notes: what was chosen and on how much it was fitted, for the result.
    """

    arrays: Mapping[str, np.ndarray]
    notes: dict[str, Any] = field(default_factory=dict)


def files_identity(data_dir: str | os.PathLike[str], files: Sequence[str]) -> list[list[Any]]:
    """Returns name, size and time of change of some files of a dataset."""
    return [[os.path.relpath(one, data_dir), os.path.getsize(one), os.stat(one).st_mtime_ns] for one in files]


def cached(
    data_dir: str | os.PathLike[str], identity: Mapping[str, Any], make: Callable[[], Predictions]
) -> Predictions:
    """Returns what was made under this identity before, or makes it, and keeps it unless the dataset is read-only.

    Args:
      data_dir: the dataset.
      identity: everything that the predictions depend on, besides the code and the optional libraries.
      make: makes them.
    """
    parts = {
        **identity,
        "code": code_version("runs.baselines", "transforms", "serving.retrieval"),
        "libraries": [name for name in OPTIONAL if find_spec(name) is not None],
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    path = Path(data_dir) / FOLDER / f"{key[:32]}.npz"
    known = _read(path)
    if known is not None:
        return known
    made = make()
    if os.access(data_dir, os.W_OK):
        _write(path, made)
    return made


def _read(path: Path) -> Predictions | None:
    try:
        with np.load(path) as content:
            arrays = {name: content[name] for name in content.files}
        return Predictions(arrays, dict(json.loads(str(arrays.pop(_NOTES)))))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        # There is none, or it is damaged: it is made again.
        return None


def _write(path: Path, made: Predictions) -> None:
    try:
        with replacing_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{_NOTES: np.array(json.dumps(made.notes))}, **made.arrays)
    except OSError:
        # A full disk must not lose the result.
        return
