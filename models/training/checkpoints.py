"""Checkpoints of a training run: all that it takes to continue as if nothing had happened."""

import dataclasses
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from transforms.errors import InputError

_LOG = logging.getLogger(__name__)


@dataclass
class RunState:
    """Where a run stands.

    Args:
      epoch: the epoch under way, from 0.
      step: optimizer steps so far.
      step_in_epoch: of these, steps in the epoch under way.
      best_epoch: the epoch with the least eval log loss, from 1; None before the first evaluation.
      best_logloss: that log loss.
      epochs_without_gain: evaluations since.
      history: metrics of each whole epoch.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    best_epoch: int | None = None
    best_logloss: float | None = None
    epochs_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Checkpoints:
    """The checkpoints of one run in one directory: `step-<n>`, and the best weights `best-<epoch>`.

    Args:
      directory: created if missing.
      model: built.
      optimizer: built; its moments and step count are saved, its learning rate is not.
      keep: checkpoints to keep.
    """

    def __init__(self, directory: str | os.PathLike[str], model: keras.Model, optimizer: Any, keep: int):
        self._directory, self._model, self._keep = Path(directory), model, keep
        with tf.device("CPU:0"):
            self._state = tf.Variable("", dtype=tf.string, trainable=False)
        self._all = tf.train.Checkpoint(weights=model.weights, optimizer=list(optimizer.variables), state=self._state)
        self._weights = tf.train.Checkpoint(weights=model.weights)
        self._directory.mkdir(parents=True, exist_ok=True)

    def save(self, state: RunState) -> None:
        """Writes everything, then removes what is no longer needed."""
        self._state.assign(json.dumps(dataclasses.asdict(state)))
        self._all.write(str(self._directory / f"step-{state.step}"))
        steps = self._numbers("step-")
        past = [step for step in steps if step <= state.step]
        # A checkpoint of a later step is one that could not be read when this run began.
        self._remove("step-", set(steps) - set(past[-self._keep :]))
        self._remove("best-", set(self._numbers("best-")) - {state.best_epoch})

    def restore(self) -> RunState | None:
        """Reads the latest whole checkpoint; None, and nothing changed, if there is none.

        Raises:
          InputError: the checkpoint is of another model.
        """
        for step in reversed(self._numbers("step-")):
            path = str(self._directory / f"step-{step}")
            if _is_whole(path):
                self._read(self._all, path)
                return RunState(**json.loads(self._state.numpy()))
            _LOG.warning("checkpoint %s is damaged; trying the one before it", path)
        return None

    def save_best(self, epoch: int) -> None:
        """Writes the weights as those of the best epoch; others are removed when the state is next saved."""
        self._weights.write(str(self._directory / f"best-{epoch}"))

    def restore_best(self, epoch: int) -> None:
        """Reads the weights of the best epoch.

        Raises:
          InputError: they are missing, damaged, or of another model.
        """
        path = str(self._directory / f"best-{epoch}")
        if not _is_whole(path):
            raise InputError(path, "no whole file", "the best epoch's weights", "train again in a new directory")
        self._read(self._weights, path)

    def _read(self, checkpoint: tf.train.Checkpoint, path: str) -> None:
        try:
            checkpoint.read(path).assert_consumed()
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise InputError(
                path, "a checkpoint of another model or optimizer", "one of this run", "use a directory of its own"
            ) from error

    def _numbers(self, prefix: str) -> list[int]:
        numbers = [path.name[len(prefix) : -len(".index")] for path in self._directory.glob(f"{prefix}*.index")]
        return sorted(int(number) for number in numbers if number.isdigit())

    def _remove(self, prefix: str, numbers: set[int]) -> None:
        for number in numbers:
            for path in self._directory.glob(f"{prefix}{number}.*"):
                path.unlink()


def _is_whole(path: str) -> bool:
    """True if every tensor can be read; TensorFlow checks each one's checksum."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError):  # As the reader words its errors.
        return False
    return True
