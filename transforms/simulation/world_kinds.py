"""World files of any kind: the key `kind` says which, and a file without it is a cascade."""

import os

from transforms.errors import InputError
from transforms.import_path import nearest
from transforms.simulation.ctr_parameters import KIND, ClickLogParameters, click_worlds
from transforms.simulation.parameters import World, worlds
from transforms.simulation.world_files import parse_world, read_world

CASCADE = "cascade"


def load_any_world(path: str | os.PathLike[str] | None) -> World | ClickLogParameters:
    """Reads a world file: the parameters of a `CascadeWorld`, or of a `ClickLogWorld` if it says `kind: ctr`.

    Args:
      path: a YAML file, or the name of a world that comes with the package; None is `default`.

    Raises:
      InputError: no such file, not YAML, an unknown kind or key (the nearest known one is named), or a
        value out of its domain.
    """
    values, where = read_world("default" if path is None else path, worlds() | click_worlds())
    kind = values.pop("kind", CASCADE)
    if kind == KIND:
        return parse_world(values, where, ClickLogParameters, "fields that do not fit")
    if kind != CASCADE:
        expected = f"{CASCADE} or {KIND}"
        raise InputError(f"{where}, key 'kind'", repr(kind), expected, nearest(str(kind), [CASCADE, KIND]))
    return parse_world(values, where, World, "stages that do not fit")
