"""Recipes: ways to train one model alone, or several that teach each other, one of which is served."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import tf_keras as keras

from models.cotraining.external_inputs import ExternalInput
from models.options import Options, check_names, parameters_of
from models.training.fit import FitResult
from models.training.job import TrainingJob
from transforms.import_path import Registry

RECIPES = {
    "single": "models.cotraining.single.Single",
    "mutual_learning": "models.cotraining.mutual_learning.MutualLearningRecipe",
    "duet": "models.cotraining.duet.DuetRecipe",
    "retrieval": "models.cotraining.retrieval.RetrievalRecipe",
    "cs3": "models.cotraining.cs3.CS3Recipe",
    "entire_space": "models.cotraining.entire_space.EntireSpaceRecipe",
}
"""Short names and import paths."""

REGISTRY = Registry("recipe", "consort.recipes", RECIPES)

NEEDS = ("requests", "unexposed", "stages")
"""Records of requests; candidates that were not shown; how far each candidate got."""


@dataclass(frozen=True)
class Trained:
    """The result of a recipe.

    Args:
      model: the one to serve, with nothing of the others in it.
      result: result of the last fit.
      report: what else a reader of the run wants to know; plain JSON values.
      warnings: what is wrong with the run, each with its remedy.
      changes: settings that were not used as the run file has them, and why.
      peers: builds all models that were trained together, the one to serve among them; None if it was trained alone.
    """

    model: keras.Model
    result: FitResult
    report: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    peers: Callable[[], tuple[keras.Model, ...]] | None = None

    def models(self) -> tuple[keras.Model, ...]:
        """Builds all models that were trained together; the one to serve where it was trained alone."""
        return self.peers() if self.peers else (self.model,)


class Recipe(Options, abc.ABC):
    """A way to train, the base of every recipe.

    A subclass is a frozen dataclass whose fields are the options of the run file's section `recipe` (see `Options`),
    and needs two methods: `train` and `row_widths`. `needs` and `check` refuse data and models that it cannot use,
    `model_names` names further models that it builds, `external_inputs` what it takes from earlier runs; `streamed`
    and `served` are for `consort online`. The run file names it by a short name, by an entry point of the group
    `consort.recipes`, or by its import path; the working directory is importable.

    Example, in a file `averaging.py`, for `recipe: {name: averaging.LongerTraining, options: {times: 3}}`:

        @dataclass(frozen=True)
        class LongerTraining(Recipe):
            '''Trains for more epochs; the `Args` of this docstring say what `times` means.'''

            times: Count = 2

            def row_widths(self, width: int) -> list[int]:
                return [width]

            def train(self, job: TrainingJob, directory: Path) -> Trained:
                model = job.build(job.seed, None)
                settings = dataclasses.replace(job.settings, epochs=self.times * job.settings.epochs)
                return Trained(model, job.fit(model, directory, settings, job.seed))
    """

    in_time_order: ClassVar[bool] = False
    """True if each record must be seen after all earlier ones, and none of them twice."""
    reads_raw_rows: ClassVar[bool] = False
    """True if raw rows are transformed as they are read, as they always are in the order of time."""
    adds_linear_terms: ClassVar[bool] = False
    """True if models that take linear terms get them where the run starts as a logistic regression of clicks."""

    @property
    def from_raw_rows(self) -> bool:
        """True if the recipe needs no transformed records."""
        return self.in_time_order or self.reads_raw_rows

    def needs(self) -> frozenset[str]:
        """Returns requirements on the data, a subset of `NEEDS`; most recipes have none."""
        return frozenset()

    @abc.abstractmethod
    def row_widths(self, width: int) -> list[int]:
        """Returns the widths of the tables that are in memory at once, given the `width` of one model's tables."""

    def model_names(self) -> list[str]:
        """Returns the names of the model classes that it builds besides the run's model."""
        return []

    def check(self, models: Sequence[keras.Model]) -> None:
        """Refuses models that it cannot train: the run's own, then those of `model_names`.

        Raises:
          ValueError: one of them is of the wrong kind.
        """

    def external_inputs(self) -> list[ExternalInput]:
        """Returns new objects for what it takes from earlier runs; each call, and so each run, gets its own."""
        return []

    def streamed(self, job: TrainingJob) -> keras.Model:
        """Builds the model that learns from an endless stream.

        Raises:
          ValueError: the recipe needs to go over its data again.
        """
        raise ValueError(
            f"{type(self).__name__} cannot learn from a stream; expected single or cs3; choose one of them"
        )

    def served(self, streamed: keras.Model) -> keras.Model:
        """Returns the model to serve, as it is now, of the one that `streamed` built."""
        return streamed

    @abc.abstractmethod
    def train(self, job: TrainingJob, directory: Path) -> Trained:
        """Trains; started again after a kill with the same directory it continues."""


def build_recipe(name: str, **options: Any) -> Recipe:
    """Builds a recipe.

    Args:
      name: a short name of `RECIPES`, an entry point's name in the group `consort.recipes`, or the import path of a
        `Recipe`, `package.module.Class`.
      **options: arguments of its constructor.

    Raises:
      ValueError: no such recipe, an option that it does not have, or a wrong value.
    """
    recipe_class = REGISTRY.find(name, Recipe)  # type: ignore[type-abstract]
    check_names(f"recipe {name!r}", options, parameters_of(recipe_class, object))
    return recipe_class(**options)
