"""World files: YAML into frozen models; an unknown key is an error that names the nearest known one."""

import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from transforms.errors import InputError
from transforms.import_path import nearest
from transforms.plain_text import parse_yaml
from transforms.validation import input_error

Parameters = TypeVar("Parameters", bound=BaseModel)


def packaged(folder: str) -> dict[str, Path]:
    """Names and paths of the world files in a folder of this package."""
    directory = Path(__file__).parent / folder
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def read_world(path: str | os.PathLike[str], known: dict[str, Path]) -> tuple[dict[str, Any], str]:
    """The mapping in a world file, and the file's path.

    Args:
      path: a YAML file, or a name in `known`.
      known: paths of the worlds that come with the package, by name.

    Raises:
      InputError: no such file, or not YAML.
    """
    file = Path(path)
    if not file.is_file():
        if str(file) not in known:
            raise InputError(
                str(path), "no such file or world", "a world file, or a world's name", nearest(str(file), list(known))
            )
        file = known[str(file)]
    try:
        values = parse_yaml(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(str(file), "text that is not YAML", "a YAML mapping", "correct the file") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(str(file), "no mapping", "a YAML mapping", "see the world files of the package")
    return {str(key): value for key, value in values.items()}, str(file)


def parse_world(values: dict[str, Any], where: str, model: type[Parameters], misfit: str) -> Parameters:
    """The parameters that a world file gives; keys that it leaves out keep their defaults.

    Args:
      values: the file's mapping.
      where: the file, for messages.
      model: the parameters' class.
      misfit: what is wrong when each value alone is valid, but not all of them together.

    Raises:
      InputError: an unknown key (the nearest known one is named), or a value out of its domain.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise InputError(where, misfit, str(first["msg"]), "correct the sizes") from error
        raise input_error(error, where, list(model.model_fields)) from error
