"""The parameters of a simulated click log, and their YAML files."""

import os
from collections import Counter
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transforms.errors import InputError
from transforms.features import LABEL, ROW_KEYS
from transforms.simulation.world_files import packaged, parse_world, read_world

KIND = "ctr"
"""What the key `kind` of a world file says if the file is one of these."""
TRUTH = "true_click_probability"
_NAME = r"^[a-z][a-z0-9_]*$"
_RESERVED = {column.name for column in ROW_KEYS} | {LABEL, TRUTH}
_IDS = (10, 12, 16, 24, 32, 48, 64, 100, 200, 400, 1000, 2500, 6000, 15_000, 50_000, 120_000)
_EXPONENTS = (0.8, 0.8, 0.9, 0.9, 1.0, 1.0, 1.1, 1.1, 1.2, 1.2, 1.3, 1.3, 1.4, 1.4, 1.5, 1.5)


class Category(BaseModel):
    """A categorical field.

    Args:
      name: of the column.
      ids: how many there are.
      exponent: the id of frequency rank k is drawn in proportion to the integral of x^-exponent from k
        to k + 1: about k^-exponent; 0 is uniform.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=_NAME)
    ids: int = Field(ge=2, lt=2**31)
    exponent: float = Field(default=1.0, ge=0, le=4)


def _categories() -> tuple[Category, ...]:
    sizes = enumerate(zip(_IDS, _EXPONENTS, strict=True), start=1)
    return tuple(Category(name=f"c{i:02d}", ids=ids, exponent=exponent) for i, (ids, exponent) in sizes)


class ClickLogParameters(BaseModel):
    """Parameters of a click log. Strengths are in logits; 0 switches the effect off.

    Args:
      categories: the categorical fields.
      numbers: names of the numeric fields; their effects are of first order.
      pairs: pairs of categories that interact.
      triples: triples of categories that interact.
      latent_dim: K, width of the latent vector of each id, through which it acts in all orders.
      first_order: standard deviation of what the fields do each for itself.
      second_order: standard deviation of what all pairs do together.
      third_order: standard deviation of what all triples do together.
      click_rate: share of rows that are clicked.
      start_timestamp: first moment of the log, seconds UTC.
      days: length of the log in days, whatever the number of rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    categories: tuple[Category, ...] = Field(default_factory=_categories, min_length=1)
    numbers: tuple[str, ...] = ("n1", "n2", "n3", "n4")
    pairs: tuple[tuple[str, str], ...] = (
        ("c01", "c08"),
        ("c02", "c07"),
        ("c03", "c06"),
        ("c04", "c05"),
        ("c09", "c12"),
        ("c10", "c13"),
    )
    triples: tuple[tuple[str, str, str], ...] = (("c01", "c02", "c03"), ("c04", "c05", "c06"))
    latent_dim: int = Field(default=1, ge=1)
    first_order: float = Field(default=1.25, ge=0)
    second_order: float = Field(default=0.7, ge=0)
    third_order: float = Field(default=0.25, ge=0)
    click_rate: float = Field(default=0.25, gt=0, lt=1)
    start_timestamp: int = Field(default=1_700_000_000, ge=0)
    days: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _check_names(self) -> "ClickLogParameters":
        fields = [*(category.name for category in self.categories), *self.numbers]
        for name, count in Counter(fields).items():
            if count > 1 or name in _RESERVED:
                raise ValueError(f"the field {name!r} {'twice' if count > 1 else 'is a column that every row has'}")
        known = {category.name for category in self.categories}
        groups = [frozenset(group) for group in chain(self.pairs, self.triples)]
        for group, members in zip(chain(self.pairs, self.triples), groups, strict=True):
            if len(members) < len(group) or not members <= known or groups.count(members) > 1:
                raise ValueError(f"{list(group)} should be different fields among the categories, named once")
        for name, strength in (("pairs", self.second_order), ("triples", self.third_order)):
            if strength and not getattr(self, name):
                raise ValueError(f"no {name} to share a strength of {strength}; name some, or set the strength to 0")
        return self


def click_worlds() -> dict[str, Path]:
    """Names and paths of the world files of click logs that come with the package."""
    return packaged("ctr_worlds")


def load_click_world(path: str | os.PathLike[str] | None) -> ClickLogParameters:
    """Reads a world file with `kind: ctr`; keys that it leaves out keep their defaults.

    Args:
      path: a YAML file, or the name of a world that comes with the package; None is `ctr`.

    Raises:
      InputError: no such file, not YAML, another kind of world, an unknown key (the nearest known one
        is named), or a value out of its domain.
    """
    values, where = read_world(KIND if path is None else path, click_worlds())
    kind = values.pop("kind", None)
    if kind != KIND:
        raise InputError(f"{where}, key 'kind'", repr(kind), repr(KIND), "name a world of click logs")
    return parse_world(values, where, ClickLogParameters, "fields that do not fit")
