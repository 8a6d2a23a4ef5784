"""Grids as YAML files, and names that a grid knows."""

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from transforms.errors import InputError
from transforms.packages import PREFIX
from transforms.plain_text import parse_yaml

Grid = TypeVar("Grid", bound=BaseModel)


def packaged_grids(table: str) -> dict[str, Path]:
    """Names and paths of the grids of a table that come with the package."""
    folder = Path(str(resources.files(f"{PREFIX}experiments") / "grids"))
    return {path.stem: path for path in sorted(folder.glob(f"{table}_*.yaml"))}


def read_grid(grid: type[Grid], table: str, path: str, changes: Mapping[str, Any] | None = None) -> Grid:
    """Reads a grid.

    Args:
      grid: its class.
      table: that it is of.
      path: a YAML file, or the name of a grid that comes with the package.
      changes: values of keys, over the file's.

    Raises:
      InputError: no such file, not YAML, an unknown key, or a value out of its domain.
    """
    grids = packaged_grids(table)
    file = Path(path) if Path(path).is_file() else grids.get(path)
    if file is None:
        fix = difflib.get_close_matches(path, grids, n=1, cutoff=0.4)
        known = ", ".join(grids)
        advice = f"did you mean {fix[0]!r}?" if fix else "name one of these, or a YAML file"
        raise InputError(f"--grid {path}", "no such file or grid", f"a file, or one of {known}", advice)
    try:
        values = parse_yaml(file.read_text())
        return grid.model_validate({**values, **(changes or {})})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "its keys together"
        raise InputError(f"{path}, {key}", repr(first["input"])[:100], first["msg"], "correct the grid") from error
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise InputError(path, f"text that is not a grid ({error})", "a YAML mapping", "correct the file") from error


def check_names(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuses names that are not known.

    Raises:
      InputError: an unknown one; the nearest known one is named.
    """
    known = list(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            fix = f"did you mean {near[0]!r}?" if near else "choose of these"
            raise InputError(option, repr(name), f"one of {', '.join(known)}", fix)
