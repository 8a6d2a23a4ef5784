"""Whose an output folder is: told by a file in it, so that the same command goes on, and no other mixes in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transforms.errors import InputError
from transforms.files import write_text

RUN_KEYS = ("config_sha256", "dataset_sha256", "teacher_sha256", "caches_sha256")
"""What of `run.json` tells two runs apart; the last two only of runs that begin with what another left."""


def run_identity(info: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from another.

    Args:
      info: of `provenance.run_info`, and of `earlier_caches.caches_identity`.
    """
    return {key: info.get(key) for key in RUN_KEYS}


def is_claimed(root: Path, file: str, mine: Mapping[str, Any], kind: str) -> bool:
    """Whether a folder is one's own already.

    Args:
      root: the folder.
      file: name of the JSON file that tells.
      mine: what it must hold.
      kind: `run` or `search`, for messages.

    Raises:
      InputError: it is another's, or the file cannot be read.
    """
    path = root / file
    if not path.is_file():
        return False
    fix = "choose another --out, or delete this one"
    try:
        present = dict(json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise InputError(str(path), str(error), f"a {file} of ours", fix) from error
    for key, value in mine.items():
        if present.get(key) != value:
            raise InputError(str(root), f"a {kind} with another {key}", f"{key} {value}", fix)
    return True


def claim(root: Path, file: str, mine: Mapping[str, Any], told: Mapping[str, Any], kind: str) -> None:
    """Makes a folder one's own, or finds that it is.

    Args:
      root, file, mine, kind: as in `is_claimed`.
      told: what the file gets.

    Raises:
      InputError: it is another's, or in use.
    """
    if is_claimed(root, file, mine, kind):
        return
    # A hidden file is what one leaves that was killed while it wrote its first one.
    if root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise InputError(str(root), "a folder in use", "a new or empty folder", "choose another --out")
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / file, json.dumps(told, indent=2) + "\n")
