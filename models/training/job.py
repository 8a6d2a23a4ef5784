"""The training job that a recipe receives: how to build models, the data, and the settings of the run."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.training.compiling import OptimizerName, exponential_decay
from models.training.fit import FitResult, fit
from models.training.linear_start import LinearStart


@dataclass(frozen=True)
class FitSettings:
    """Settings of `fit`.

    Args:
      epochs: passes over the training data.
      learning_rate: at the start.
      decay_epochs: epochs in which the learning rate decays to a tenth, exponentially; None: constant.
      optimizer: `adam`, `adagrad` or `ftrl`.
      patience, checkpoint_steps, keep_checkpoints, steps_per_execution, max_steps: as in `fit`.
      tensorboard: write event files.
    """

    epochs: int = 1
    learning_rate: float = 1e-3
    decay_epochs: float | None = None
    optimizer: OptimizerName = "adam"
    patience: int | None = None
    checkpoint_steps: int = 500
    keep_checkpoints: int = 2
    steps_per_execution: int = 1
    max_steps: int | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class RetrievalData:
    """What a softmax over the catalogue learns from: clicks, and the items among which they are found.

    Args:
      train: batches of an epoch by the seed of their order and the epoch; their features hold `timestamp` and, as
        `catalogue_place`, the place of the item among the `items`.
      eval: those of the eval split; None: there is none.
      steps_per_epoch: batches of an epoch.
      items: values of the items' model inputs, `[N]` or `[N, W]`, by name; first those that the train split shows.
      trained_items: number of these.
      shown: number of rows of the train split with each of these, `[trained_items]`.
      places, times: item and timestamp of each click of the train split, `[C]`.
      eval_places, eval_times: likewise of the eval split; the place of an item that train does not show is -1.
    """

    train: Callable[[int, int], tf.data.Dataset]
    eval: tf.data.Dataset | None
    steps_per_epoch: int
    items: Mapping[str, np.ndarray]
    trained_items: int
    shown: np.ndarray
    places: np.ndarray
    times: np.ndarray
    eval_places: np.ndarray
    eval_times: np.ndarray


@dataclass(frozen=True)
class TrainingJob:
    """One run.

    Args:
      build: builds a model of the run from a seed and the name of its class, None: that of the run.
      train_dataset: returns the batches of an epoch, from 0, shuffled by a seed.
      eval_dataset: None: no evaluation.
      steps_per_epoch: batches of an epoch.
      settings: settings of the run.
      seed: seed of the run.
      in_vocabulary_ids: number of ids of each vocabulary without the out-of-vocabulary buckets.
      base_rate: share of clicks among the first training records; None: not known.
      linear_start: lets a new model with linear terms begin as a logistic regression; None: it does not.
      external: what the recipe's external inputs loaded, by the option that names each.
      retrieval: returns the data of a softmax over the catalogue, of clicked rows alone or of all, in batches of a size
        (None: the run's); None: there is none.
      log_dir: maps the folder of the checkpoints to that of TensorBoard's event files; None: `tensorboard` in it.
    """

    build: Callable[[int, str | None], keras.Model]
    train_dataset: Callable[[int, int], tf.data.Dataset]
    eval_dataset: tf.data.Dataset | None
    steps_per_epoch: int
    settings: FitSettings
    seed: int
    in_vocabulary_ids: Mapping[str, int] = field(default_factory=dict)
    base_rate: float | None = None
    linear_start: LinearStart | None = None
    external: Mapping[str, Any] = field(default_factory=dict)
    retrieval: Callable[[bool, int | None], RetrievalData] | None = None
    log_dir: Callable[[Path], Path] | None = None

    def fit(self, model: keras.Model, directory: Path, settings: FitSettings, seed: int, **changes: Any) -> FitResult:
        """Fits a model with these settings on the run's data, shuffled by `seed`, from the run's `base_rate`.

        Args:
          model: see `fit`.
          directory: folder of its checkpoints.
          settings: settings of this fit.
          seed: seed of the order of the data.
          **changes: other arguments of `fit`; `base_rate=None` for a model that is trained already.
        """
        arguments = dataclasses.asdict(settings)
        decay_epochs, tensorboard = arguments.pop("decay_epochs"), arguments.pop("tensorboard")
        steps = changes.get("steps_per_epoch", self.steps_per_epoch)
        if decay_epochs is not None:
            arguments["learning_rate"] = exponential_decay(settings.learning_rate, decay_epochs, steps)
        changes = {
            "train_dataset": lambda epoch: self.train_dataset(seed, epoch),
            "eval_dataset": self.eval_dataset,
            "steps_per_epoch": steps,
            "base_rate": self.base_rate,
            **changes,
        }
        if self.linear_start is not None and changes["base_rate"] is not None:
            changes = {"start": self.linear_start, **changes}
        log_dir = self._logs_of(directory) if tensorboard else None
        return fit(model, directory=directory, **arguments, seed=seed, log_dir=log_dir, **changes)

    def _logs_of(self, directory: Path) -> Path:
        return directory / "tensorboard" if self.log_dir is None else self.log_dir(directory)
