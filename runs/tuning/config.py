"""The run file's section `tuning`: which keys are searched, over which values, how and within which bounds.

A part of `runs.config`, which checks the searched keys against the run file's own.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator

from transforms.errors import InputError

FIXED = ("name", "source", "record", "seed", "baselines", "features", "gate", "pipeline", "tuning")
"""Sections that no search may change: all trials share one transform, one eval split and one seed."""

_DOMAIN = "a list of choices, or {min: ..., max: ..., log: true}"
_GOLDEN = 0.381966
# YAML 1.1 reads 1e-3 as text: it wants 1.0e-3.
_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Section):
    """Numbers from `min` to `max`, both among them; whole numbers if both are whole.

    Args:
      min, max: bounds.
      log: spread evenly over orders of magnitude, not over the numbers.
    """

    min: int | FiniteFloat
    max: int | FiniteFloat
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.min, int) and isinstance(self.max, int)

    def probes(self) -> tuple[float, ...]:
        """Values that stand for all: a key that takes these takes any between."""
        # The third is not whole, which a key for whole numbers must refuse.
        inside = () if self.whole else (self.min + _GOLDEN * (self.max - self.min),)
        return (self.min, self.max, *inside)


Domain = tuple[Any, ...] | Range
"""What one key may be."""


class TuningConfig(_Section):
    """A search for better values of some keys; `consort tune` runs it, or the pipeline's Tuner.

    Args:
      algorithm: `random`, or `bayesian` (Gaussian process, upper confidence bound).
      max_trials: trials at most; a small space may be exhausted before.
      objective: what decides, on the eval split: log loss (least), AUC (greatest) or, with recipe `retrieval`, the
        recall in the catalogue (greatest).
      epochs: of a trial; None is `training.epochs`.
      max_steps: of a trial; None is `training.max_steps`.
      initial_points: random trials before the first Bayesian one; None is one more than searched keys, at
        least 3.
      parallel: trials at once, each in a process of its own; with GPUs at most one a GPU.
      memory_gb: main memory that a trial may take; it is ended and counts as failed beyond. None is no limit.
      timeout_s: seconds that a trial may take, likewise.
      in_pipeline: search in `consort pipeline run`, before its Trainer, which takes the best values.
      space: keys of the run file, such as `training.learning_rate`, each with a list of choices or a `Range`.
    """

    algorithm: Literal["random", "bayesian"] = "random"
    max_trials: int = Field(default=10, ge=1)
    objective: Literal["eval_logloss", "eval_auc", "eval_catalogue_recall@100"] = "eval_logloss"
    epochs: int | None = Field(default=None, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    initial_points: int | None = Field(default=None, ge=1)
    parallel: int = Field(default=1, ge=1)
    memory_gb: float | None = Field(default=None, gt=0)
    timeout_s: float | None = Field(default=None, gt=0)
    in_pipeline: bool = False
    space: dict[str, Domain] = Field(default_factory=dict)

    @property
    def direction(self) -> Literal["min", "max"]:
        """Whether the objective is to be small or great."""
        return "min" if self.objective == "eval_logloss" else "max"

    def probes(self) -> Iterator[tuple[str, Any]]:
        """Keys with values that stand for all that they may get."""
        for key, domain in self.space.items():
            for value in domain.probes() if isinstance(domain, Range) else domain:
                yield key, value

    @model_validator(mode="after")
    def _check(self) -> "TuningConfig":
        if self.in_pipeline and not self.space:
            raise InputError("key 'tuning.in_pipeline'", "true without a space", "keys in tuning.space", "name some")
        return self

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, value: Any) -> dict[str, Domain]:
        if not isinstance(value, Mapping):
            raise InputError("key 'tuning.space'", repr(value), "keys of the run file, with values each", "list them")
        return dict(_flat(value, ""))


def _flat(space: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Domain]]:
    """`training.learning_rate` and `learning_rate` below `training` are the same; `--set` writes the latter."""
    for name, value in space.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and not {"min", "max", "log"} & set(value):
            yield from _flat(value, f"{key}.")
        else:
            yield key, _domain(key, value)


def _domain(key: str, value: Any) -> Domain:
    where = f"key 'tuning.space.{key}'"
    if isinstance(value, Range):
        return value
    if isinstance(value, list | tuple) and value:
        choices = tuple(map(_number, value))
        if any(choice in choices[:index] for index, choice in enumerate(choices)):
            raise InputError(where, repr(value), "choices that differ", "name each once")
        return choices
    if not isinstance(value, Mapping):
        raise InputError(where, repr(value), _DOMAIN, "write one of them")
    try:
        domain = Range.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        bound = str(first["loc"][0])
        fixes = {"missing": f"give {bound!r}", "extra_forbidden": f"leave out {bound!r}"}
        raise InputError(where, repr(value), _DOMAIN, fixes.get(first["type"], f"{bound}: {first['msg']}")) from error
    if domain.min >= domain.max:
        raise InputError(where, repr(value), "min below max", "widen it, or give a list of one choice")
    if domain.log and domain.min <= 0:
        raise InputError(where, repr(value), "min above 0 where log is true", "raise min, or leave log out")
    return domain


def _number(choice: Any) -> Any:
    return float(choice) if isinstance(choice, str) and _EXPONENT.fullmatch(choice) else choice
