"""The parameters of simulated worlds, and their YAML files."""

import os
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from simulation.world_files import packaged, parse_world, read_world
from transforms.errors import InputError
from transforms.features import LABEL, ROW_KEYS
from transforms.import_path import nearest


class World(BaseModel):
    """Parameters of a world. Strengths are in logits; 0 switches the effect off.

    Args:
      users, items: how many there are.
      categories, segments, age_buckets: visible groups of items, of users, and bands of user age.
      taste_dim: D, width of the latent taste vectors.
      visible_share: share of a taste vector's variance that the user's segment or the item's category
        explains; the rest shows only in clicks.
      user_exponent: the user of activity rank k makes requests in proportion to k^-user_exponent.
      item_exponent: the item of popularity rank k has popularity k^-item_exponent.
      start_timestamp: first moment of the log, seconds UTC.
      days: length of the log in days, for any number of requests.
      born_share: share of items born while the log runs; the others exist before it.
      mean_age_days: mean age of the items that exist before the log, days.
      past_clicks: mean number of clicks of a user before the log begins; they fill the first histories.
      base_logit: logit of a click on an average item, on top of the page, in average surroundings.
      taste_strength: standard deviation of the match of user and item.
      quality_strength: standard deviation of an item's appeal to everybody.
      user_strength: standard deviation of a user's readiness to click.
      freshness_strength: lift of an item just born.
      freshness_hours: hours in which that lift decays by a factor of e.
      price_strength: loss per standard deviation of log price for the youngest age bucket; it falls
        linearly to 0 for the oldest.
      context_strength: lift on mobile against desktop, and amplitude of the daily wave.
      drift: share of a user's own taste (variance) that is new after a day, in [0, 1).
      position_effect: loss per unit of ln(position), position 1 being the top of the page.
      set_effect: strength of the other items shown: the loss of an item if all the others are like
        it, and its gain if all the others are complementary to it.
      candidates: M, most items that reach pre-ranking in a request; shorter lists are padded.
      min_candidates: fewest items that reach pre-ranking (uniform between the two).
      pool_size: items that a request's retrieval looks at, before it scores them.
      ranked_items: candidates that pass pre-ranking.
      exposed_items: ranked items that are shown.
      relevance_weight: weight of the true relevance in the logging scores; 0 makes them blind, so that
        (with no popularity bias) exposure is random.
      popularity_bias: retrieval draws its pool in proportion to popularity^popularity_bias, and every
        logging score gains popularity_bias for the most popular item and loses it for the least,
        linearly in the rank between.
      retrieval_noise, preranking_noise, ranking_noise: standard deviations of the noise in the
        logging scores of the three stages.
      logging_model: what the logging scores know of an item: `relevance`, the truth (the noise makes the
        scores imperfect); or `clicks`, what a logistic regression learned from the clicks of an earlier
        log, so that neither stages nor scores hold any truth. It then takes the place of the true
        relevance, weighted by `relevance_weight`. See `simulation.click_model`.
      learning_requests: requests of that earlier log; they are not part of the log.
      history_length: most recent clicks in a history; 1 or more.
      block_requests: requests in a block of time; histories, counters and tastes are brought up to
        date after each block, as a real log's features lag behind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    users: int = Field(default=2000, ge=1)
    items: int = Field(default=3000, ge=2)
    categories: int = Field(default=20, ge=1)
    segments: int = Field(default=8, ge=1)
    age_buckets: int = Field(default=6, ge=1)
    taste_dim: int = Field(default=8, ge=1)
    visible_share: float = Field(default=0.6, ge=0, le=1)
    user_exponent: float = Field(default=0.5, ge=0, le=4)
    item_exponent: float = Field(default=1.0, ge=0, le=4)

    start_timestamp: int = Field(default=1_700_000_000, ge=0)
    days: float = Field(default=14.0, gt=0)
    born_share: float = Field(default=0.2, ge=0, lt=1)
    mean_age_days: float = Field(default=30.0, gt=0)
    past_clicks: float = Field(default=10.0, ge=0)

    base_logit: float = -3.6
    taste_strength: float = Field(default=1.2, ge=0)
    quality_strength: float = Field(default=0.6, ge=0)
    user_strength: float = Field(default=0.4, ge=0)
    freshness_strength: float = Field(default=0.5, ge=0)
    freshness_hours: float = Field(default=72.0, gt=0)
    price_strength: float = Field(default=0.4, ge=0)
    context_strength: float = Field(default=0.2, ge=0)
    drift: float = Field(default=0.02, ge=0, lt=1)

    position_effect: float = Field(default=0.3, ge=0)
    set_effect: float = Field(default=3.0, ge=0)

    candidates: int = Field(default=100, ge=1)
    min_candidates: int = Field(default=80, ge=1)
    pool_size: int = Field(default=300, ge=1)
    ranked_items: int = Field(default=30, ge=1)
    exposed_items: int = Field(default=10, ge=1)
    relevance_weight: float = Field(default=1.0, ge=0)
    popularity_bias: float = Field(default=1.0, ge=0, le=10)
    retrieval_noise: float = Field(default=3.0, ge=0)
    preranking_noise: float = Field(default=2.5, ge=0)
    ranking_noise: float = Field(default=2.0, ge=0)
    logging_model: Literal["relevance", "clicks"] = "relevance"
    learning_requests: int = Field(default=20_000, ge=1)

    history_length: int = Field(default=50, ge=1)
    block_requests: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _check_funnel(self) -> "World":
        names = ("pool_size", "candidates", "min_candidates", "ranked_items", "exposed_items")
        for wider, narrower in pairwise(names):
            if getattr(self, narrower) > getattr(self, wider):
                raise ValueError(
                    f"{narrower} {getattr(self, narrower)} is more than {wider} {getattr(self, wider)}: "
                    f"a later stage sees at most what the earlier one passed; lower {narrower} or raise {wider}"
                )
        return self

    @model_serializer(mode="wrap")
    def _without_an_unused_model(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out the keys of the click model where there is none: datasets without it keep their hashes."""
        values: dict[str, Any] = serialize(self)
        unused = {"logging_model", "learning_requests"} if self.logging_model == "relevance" else set()
        return {key: value for key, value in values.items() if key not in unused}


def worlds() -> dict[str, Path]:
    """Names and paths of the world files that come with the package."""
    return packaged("worlds")


def load_world(path: str | os.PathLike[str] | None) -> World:
    """Reads a world file; keys that it leaves out keep their defaults.

    Args:
      path: a YAML file, or the name of a world that comes with the package; None is `default`.

    Raises:
      InputError: no such file, not YAML, an unknown key (the nearest known one is named), or a value
        out of its domain.
    """
    values, where = read_world("default" if path is None else path, worlds())
    return parse_world(values, where, World, "stages that do not fit")


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
      days: length of the log in days, for any number of rows.
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


def check_size(of: str, size: int, seed: int) -> None:
    """Checks the size and the seed of a log.

    Args:
      of: what is counted: `requests` or `rows`.
      size, seed: as asked for.

    Raises:
      InputError: `size` is below 1, or `seed` below 0.
    """
    if size < 1:
        raise InputError(of, size, "1 or more", f"ask for at least one {of.removesuffix('s')}")
    if seed < 0:
        raise InputError("seed", seed, "0 or more", "choose another seed")
