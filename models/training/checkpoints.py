"""Checkpoints of a training run: everything that is needed to continue it exactly."""

import dataclasses
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.training.distribution import barrier, is_chief, unshard
from transforms.errors import InputError

_LOG = logging.getLogger(__name__)


@dataclass
class RunState:
    """Progress of a run.

    Args:
      epoch: the epoch under way, from 0.
      step: optimizer steps so far.
      step_in_epoch: steps so far in the epoch under way.
      best_epoch: the best epoch, from 1; None before the first evaluation; 0 at the end of a run whose `start` is
        better than all.
      best_value: what was compared, the least of which is the best.
      epochs_without_gain: evaluations since.
      history: metrics of each whole epoch.
      start: metrics of the weights that the run began with, if they predict already; they are kept as `best-0`.
      ends_here: the run ended with the weights as they are, inside an epoch or without eval data, and not with those
        of the best epoch.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    best_epoch: int | None = None
    best_value: float | None = None
    epochs_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    start: dict[str, float] = field(default_factory=dict)
    ends_here: bool = False


class Checkpoints:
    """The checkpoints of one run in one directory: `step-<n>`, and the best weights `best-<epoch>`.

    In a distributed run the chief writes and all processes read, so that all need access to the directory. A sharded
    table is written as one: it may be read back unsharded, or with other shards.

    Args:
      directory: created if missing.
      model: built.
      optimizer: built; its moments and step count are saved, its learning rate is not.
      keep: checkpoints to keep.
      state_class: class of the state that is saved.
      extra_variables: other variables to save.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        model: keras.Model,
        optimizer: Any,
        keep: int,
        state_class: type[RunState] = RunState,
        extra_variables: Sequence[tf.Variable] = (),
    ):
        # Parameter servers write their shards themselves, and have other working directories.
        self._directory, self._keep, self._state = Path(os.path.abspath(directory)), keep, _Text()
        self._state_class = state_class
        weights = unshard(model.weights)
        self._strategy = model.distribute_strategy
        parts: dict[str, Any] = {"weights": weights, "optimizer": list(optimizer.variables), "state": self._state}
        if extra_variables:
            parts["beside"] = list(extra_variables)
        self._all = tf.train.Checkpoint(**parts)
        self._weights = tf.train.Checkpoint(weights=weights)
        self._per_replica = [value for value in weights if _is_per_replica(value)]
        if is_chief(self._strategy):
            self._directory.mkdir(parents=True, exist_ok=True)

    def save(self, state: RunState) -> None:
        """Writes a checkpoint, then removes those that are no longer needed."""
        self._state.text = json.dumps(dataclasses.asdict(state))
        self._write(self._all, f"step-{state.step}")
        if is_chief(self._strategy):
            self._clear(state)

    def _clear(self, state: RunState) -> None:
        steps = _numbers(self._directory, "step-")
        past = [step for step in steps if step <= state.step]
        # A checkpoint of a later step is one that could not be read when this run began.
        self._remove("step-", set(steps) - set(past[-self._keep :]))
        self._remove("best-", set(_numbers(self._directory, "best-")) - {state.best_epoch, 0 if state.start else None})

    def restore(self) -> Any:
        """Restores the latest intact checkpoint; returns its state, or None, with nothing changed, if there is none.

        Raises:
          InputError: the checkpoint is of another model.
        """
        for step in reversed(_numbers(self._directory, "step-")):
            path = str(self._directory / f"step-{step}")
            if _is_intact(path):
                self._read(self._all, path)
                return self._state_class(**json.loads(self._state.text))
            _LOG.warning("checkpoint %s is damaged; trying the one before it", path)
        return None

    def save_best(self, epoch: int) -> None:
        """Writes the weights as those of the best epoch; earlier ones are removed when the state is next saved."""
        self._write(self._weights, f"best-{epoch}")

    def restore_best(self, epoch: int) -> None:
        """Restores the weights of the best epoch.

        Raises:
          InputError: they are missing, damaged, or of another model.
        """
        path = str(self._directory / f"best-{epoch}")
        if not _is_intact(path):
            raise InputError(path, "no intact file", "the best epoch's weights", "train again in a new directory")
        self._read(self._weights, path)

    def _write(self, checkpoint: tf.train.Checkpoint, name: str) -> None:
        if is_chief(self._strategy):
            checkpoint.write(str(self._directory / name))
        elif self._per_replica:
            # Reading these takes all processes, so that the others read them while the chief writes.
            with tempfile.TemporaryDirectory() as folder:
                tf.train.Checkpoint(weights=self._per_replica).write(str(Path(folder) / name))
        barrier(self._strategy)

    def _read(self, checkpoint: tf.train.Checkpoint, path: str) -> None:
        try:
            checkpoint.read(path).assert_consumed()
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise InputError(
                path, "a checkpoint of another model or optimizer", "one of this run", "use a directory of its own"
            ) from error

    def _remove(self, prefix: str, numbers: set[int]) -> None:
        for number in numbers:
            for path in self._directory.glob(f"{prefix}{number}.*"):
                path.unlink()


class _Text(tf.train.experimental.PythonState):
    """Text in a checkpoint; unlike a variable it belongs to no strategy."""

    text = ""

    def serialize(self) -> str:
        return self.text

    def deserialize(self, string_value: bytes | str) -> None:
        self.text = string_value.decode() if isinstance(string_value, bytes) else string_value


def read_weights(directory: str | os.PathLike[str], model: keras.Model) -> None:
    """Loads the final weights of a finished run into a built model: the best ones, or without eval data the last.

    The run's last checkpoint says which these are.

    Raises:
      InputError: the directory has no intact checkpoint, the best weights are damaged, or they are another model's.
    """
    folder = Path(directory)
    steps = (str(folder / f"step-{step}") for step in reversed(_numbers(folder, "step-")))
    last = next((path for path in steps if _is_intact(path)), None)
    if last is None:
        raise InputError(str(folder), "no intact checkpoint", "the checkpoints of a finished run", "train it first")
    state = _Text()
    tf.train.Checkpoint(state=state).read(last).expect_partial()
    saved = json.loads(state.text)
    best = saved.get("best_epoch")
    path = last if best is None or saved.get("ends_here") else str(folder / f"best-{best}")
    if not _is_intact(path):
        raise InputError(path, "no intact file", "the best epoch's weights", "train it again in a new directory")
    try:
        status = tf.train.Checkpoint(weights=unshard(model.weights)).read(path)
        status.expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
        fix = "name a run of the same model, features and data"
        raise InputError(path, "a checkpoint of another model", "weights of this one", fix) from error


def _is_per_replica(variable: Any) -> bool:
    """Returns True if each replica holds a part of the value."""
    return getattr(variable, "synchronization", None) is tf.VariableSynchronization.ON_READ


def _numbers(directory: Path, prefix: str) -> list[int]:
    numbers = [path.name[len(prefix) : -len(".index")] for path in directory.glob(f"{prefix}*.index")]
    return sorted(int(number) for number in numbers if number.isdigit())


def _is_intact(path: str) -> bool:
    """Returns True if every tensor can be read; TensorFlow verifies their checksums."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError):  # The errors that the reader raises.
        return False
    return True
