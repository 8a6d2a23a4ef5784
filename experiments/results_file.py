"""All results of a grid in one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from transforms.errors import InputError
from transforms.files import write_text


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes one line a cell, so that files of two runs can be compared."""
    head = {key: value for key, value in results.items() if key != "cells"}
    lines = ",\n".join(json.dumps(cell) for cell in results["cells"])
    write_text(path, json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{lines}\n ]\n}}\n')


def read_results(path: Path, grid: type[BaseModel], command: str) -> dict[str, Any]:
    """The results that a finished grid left.

    Args:
      path: of the file.
      grid: class of the grid that they hold.
      command: that leaves such results.

    Raises:
      InputError: there are none, or they are no results of ours.
    """
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        grid.model_validate(results["grid"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise InputError(str(path), text, f"results of `{command}`", "name their folder with --out") from error
    return results
