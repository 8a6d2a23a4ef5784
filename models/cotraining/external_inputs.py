"""External inputs: what a recipe takes from earlier runs, such as a teacher, caches or pretrained weights."""

import abc
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from transforms.features import FeatureSet


@dataclass(frozen=True)
class RunFacts:
    """What an external input may know of the run that takes it.

    Args:
      config: the resolved run file, a `runs.config.RunConfig`.
      feature_set: the declaration, with the config's changes applied.
      dataset_sha256: of the data.
      first_time: timestamp of the first event; None: not known.
    """

    config: Any
    feature_set: FeatureSet
    dataset_sha256: str
    first_time: int | None = None


@dataclass(frozen=True)
class RowFeatures:
    """Features that an external input makes of raw rows, besides those of the learned transform.

    Args:
      columns: raw columns that it reads.
      compute: features by name, of a batch of raw columns.
    """

    columns: Sequence[str]
    compute: Callable[[Mapping[str, Any]], dict[str, Any]]


class ExternalInput(abc.ABC):
    """Something that a recipe takes from an earlier run; `Recipe.external_inputs` lists them.

    A run calls `check_exists` before it reads its data, calls `check` before it writes anything, records `identity` and
    `report` in `run.json` and in the keys under which results are cached, and calls `load` when training begins. The
    recipe finds what was loaded in `TrainingJob.external`, by `option`. An object belongs to one run and may keep what
    `check` has read.
    """

    option: ClassVar[str]
    """Option of the recipe that names it; unique among the inputs of a recipe."""
    identity_key: ClassVar[str]
    """Key of `run.json` that holds `identity`; ends in `_sha256`, and no other input of a recipe has it."""
    first_step_only: ClassVar[bool] = False
    """True if a run that goes on from a checkpoint does not need what `load` returns."""

    def check_exists(self) -> None:  # noqa: B027 (an input need not have one)
        """Checks in a second that it is there, without the data of the run; by default all is left to `check`.

        Raises:
          InputError: there is not.
        """

    @abc.abstractmethod
    def check(self, run: RunFacts) -> None:
        """Checks that it exists and fits the run; writes nothing.

        Raises:
          InputError: it is not, or it does not.
        """

    @abc.abstractmethod
    def identity(self) -> str:
        """Returns a hash of all that the run takes; called after `check`."""

    @abc.abstractmethod
    def load(self, run: RunFacts, transform: Any) -> Any:
        """Returns what the recipe trains with; called after `check`.

        Args:
          run: as in `check`.
          transform: the learned transform, a `tensorflow_transform.TFTransformOutput`.
        """

    def row_features(self, run: RunFacts) -> RowFeatures | None:
        """Returns the features that it adds to rows, in streams and for recipes `in_time_order`; others are refused."""
        return None

    def report(self) -> dict[str, Any] | None:
        """Returns plain JSON for `run.json`, section `recipe`, as far as it is known; None: nothing yet."""
        return None

    def summary(self) -> str | None:
        """Returns a line for the user when training begins, after `load`."""
        return None


def external_input(path: str, *arguments: Any) -> ExternalInput:
    """Builds an external input of a class that is imported only when a run needs it.

    Args:
      path: import path of the class.
      *arguments: of its constructor.
    """
    module, _, name = path.rpartition(".")
    result: ExternalInput = getattr(importlib.import_module(module), name)(*arguments)
    return result
