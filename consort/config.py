"""Run files by path or by a preset's name."""

import os
from importlib import resources
from pathlib import Path

from runs.config import RunConfig, read_config
from transforms.errors import InputError
from transforms.import_path import nearest


def presets() -> dict[str, Path]:
    """Returns the names and paths of the run files that come with the package."""
    folder = Path(str(resources.files("consort") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_config(path: str | os.PathLike[str], overrides: tuple[str, ...] = ()) -> RunConfig:
    """Reads a run file or a preset by its name, and applies `key.path=value` overrides.

    Raises:
      InputError: no such file, not YAML, an unknown key, or a value out of its domain.
    """
    file = Path(path)
    if file.is_file():
        return read_config(file, overrides)
    known = presets()
    if str(path) not in known:
        raise InputError(
            str(path), "no such file or preset", "a run file, or a preset's name", nearest(str(path), list(known))
        )
    return read_config(known[str(path)], overrides)
