"""Whose an output folder is: told by a file in it, so that the same command goes on, and no other mixes in."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from consort.config import NOT_TRAINING
from transforms.errors import InputError
from transforms.files import write_text
from transforms.plain_text import parse_json

RUN_KEYS = ("config_sha256", "dataset_sha256", "teacher_sha256", "caches_sha256")
"""What of `run.json` tells two runs apart; the last two only of runs that begin with what another left."""

_SHOWN = 4


def run_identity(info: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from another.

    Args:
      info: of `provenance.run_info`, and of `earlier_caches.caches_identity`.
    """
    return {key: info.get(key) for key in RUN_KEYS}


def is_claimed(root: Path, file: str, mine: Mapping[str, Any], kind: str, told: Mapping[str, Any]) -> bool:
    """Whether a folder is one's own already.

    Args:
      root: the folder.
      file: name of the JSON file that tells.
      mine: what it must hold.
      kind: `run` or `search`, for messages.
      told: what the file would get, for messages: its `config` is compared with the file's.

    Raises:
      InputError: it is another's, or the file cannot be read.
    """
    path = root / file
    if not path.is_file():
        return False
    fix = "choose another --out, or delete this one"
    try:
        present = dict(parse_json(path.read_text()))
    except (TypeError, ValueError) as error:
        raise InputError(str(path), str(error), f"a {file} of ours", fix) from error
    for key, value in mine.items():
        if present.get(key) != value:
            differences = _differences(present.get("config"), told.get("config"))
            received = f"a {kind} with another {key}" + (f": {differences}" if differences else "")
            expected = "the values of that folder" if differences else f"{key} {value}"
            made_by = f"; this made it: {present['command']}" if "command" in present else ""
            raise InputError(str(root), received, expected, fix + made_by)
    return True


def _differences(there: Any, now: Any) -> str:
    """Keys of the run file in which two runs differ, with the values of both."""
    if not isinstance(there, Mapping) or not isinstance(now, Mapping):
        return ""
    one, other = dict(_flat(there)), dict(_flat(now))
    keys = [key for key in {**one, **other} if key.partition(".")[0] not in NOT_TRAINING]
    parts = [
        f"{key} is {json.dumps(one.get(key))} there and {json.dumps(other.get(key))} here"
        for key in keys
        if one.get(key) != other.get(key)
    ]
    more = f", and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def claim(root: Path, file: str, mine: Mapping[str, Any], told: Mapping[str, Any], kind: str) -> None:
    """Makes a folder one's own, or finds that it is.

    Args:
      root, file, mine, kind: as in `is_claimed`.
      told: what the file gets.

    Raises:
      InputError: it is another's, or in use.
    """
    if is_claimed(root, file, mine, kind, told):
        return
    # A hidden file is what one leaves that was killed while it wrote its first one.
    if root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise InputError(str(root), "a folder in use", "a new or empty folder", "choose another --out")
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / file, json.dumps(told, indent=2) + "\n")
