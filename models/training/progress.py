"""Reports of a run in progress: speed, loss, TensorBoard's logs, and the first loss that is not finite."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.training.loops import wrong_values
from transforms.errors import ConsortError
from transforms.progress import Status, as_clock, say


@dataclass(frozen=True)
class Progress:
    """The state of training at a step.

    Args:
      epoch: from 1.
      step: optimizer steps since the run began, those before a resume included.
      loss: mean over the epoch so far.
      examples_per_second: speed of the last call of the training function; None if not counted.
      seconds_left: until the end of training, without evaluations; None if the number of steps is not known.
    """

    epoch: int
    step: int
    loss: float
    examples_per_second: float | None
    seconds_left: float | None = None


class Speed:
    """Times training steps, without checkpoints, evaluations and the first call, which compiles."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._steps: list[int] = []
        self._examples: list[int] = []

    def add(self, seconds: float, steps: int, examples: int | None) -> None:
        """Adds one call of the training function; `examples` is None where they are not counted."""
        self._seconds.append(seconds)
        self._steps.append(steps)
        self._examples.append(examples or 0)

    @property
    def step_seconds(self) -> float | None:
        """Median seconds per step."""
        if len(self._seconds) < 2:
            return None
        return float(np.median(np.divide(self._seconds[1:], self._steps[1:])))

    @property
    def recent_step_seconds(self) -> float | None:
        """Median seconds per step of the last 50 calls."""
        recent = range(max(1, len(self._seconds) - 50), len(self._seconds))
        return float(np.median([self._seconds[k] / self._steps[k] for k in recent])) if recent else None

    @property
    def examples_per_second(self) -> float | None:
        """Examples per second over the run."""
        examples, seconds = sum(self._examples[1:]), sum(self._seconds[1:])
        return examples / seconds if examples else None


class BoardLog:
    """Writes the loss and the speed as training goes, and the metrics of each epoch.

    Args:
      directory: folder of the event files; None writes nothing.
      every: steps between two points of the loss.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, every: int = 50):
        self._writer = None if directory is None else tf.summary.create_file_writer(os.fspath(directory))
        self._every, self._last = every, 0

    def steps(self, progress: Progress) -> None:
        """Writes the loss and the speed of a step."""
        if self._writer is None or progress.step - self._last < self._every:
            return
        self._last = progress.step
        with self._writer.as_default(step=progress.step):
            tf.summary.scalar("train/loss", progress.loss)
            if progress.examples_per_second is not None:
                tf.summary.scalar("train/examples_per_second", progress.examples_per_second)

    def epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of an epoch; `eval_` ones under a separate prefix."""
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, value in metrics.items():
                side, _, rest = name.rpartition("eval_")
                tf.summary.scalar(f"eval/{rest}" if side == "" and name.startswith("eval_") else f"epoch/{name}", value)
        self._writer.flush()


class Reporter:
    """Reports a run: shows on stderr the loss while an epoch runs and its metrics at its end, or calls a function.

    Args:
      progress: True writes on stderr; a function is called with each `Progress`; False does neither.
      board: writes TensorBoard's logs.
      title: what is fitted, e.g. `peer_0`; empty: nothing is said of it.
      epochs: epochs of the run.
      total_steps: steps of the run, if known.
    """

    def __init__(
        self,
        progress: bool | Callable[[Progress], None],
        board: BoardLog,
        title: str = "",
        epochs: int | None = None,
        total_steps: int | None = None,
    ):
        self.board, self.total_steps, self._progress = board, total_steps, progress
        self._title = f"{title}: " if title else ""
        self._of_epochs = "" if epochs is None else f" of {epochs}"
        self._of_steps = "" if total_steps is None else f" of {total_steps:,}"
        self.text = f"{self._title}preparing the first step"

    def shown(self) -> contextlib.AbstractContextManager[object]:
        """Shows `text` while the run is under way, where it writes on stderr."""
        return Status(lambda: self.text) if self._progress is True else contextlib.nullcontext()

    def __call__(self, progress: Progress) -> None:
        """Reports the state at a step."""
        if callable(self._progress):
            self._progress(progress)
        rate = f", {progress.examples_per_second:,.0f} rows/s" if progress.examples_per_second else ""
        left = "" if progress.seconds_left is None else f", {as_clock(progress.seconds_left)} left"
        place = f"epoch {progress.epoch}{self._of_epochs}, step {progress.step:,}{self._of_steps}"
        self.text = f"{self._title}{place}: loss {progress.loss:.5f}{rate}{left}"
        self.board.steps(progress)

    def evaluating(self, epoch: int) -> None:
        """Reports that an evaluation begins."""
        self.text = f"{self._title}epoch {epoch}{self._of_epochs}: evaluating"

    def epoch(self, row: Mapping[str, float]) -> None:
        """Reports the metrics of a whole epoch, as in `FitResult.history`."""
        if self._progress is True:
            place = f"epoch {int(row['epoch'])}{self._of_epochs}"
            say(f"{self._title}{place}: {metrics_text(row)}, {as_clock(row['seconds'])}")
        self.board.epoch(int(row["step"]), row)


def metrics_text(row: Mapping[str, float]) -> str:
    """Returns the loss of an epoch, and the log loss and AUC of its evaluation, the latter of each peer, as text."""
    names = ["loss", "eval_logloss" if "eval_logloss" in row else "eval_loss"]
    names += [name for name in row if name.startswith("eval_auc")]
    return ", ".join(f"{name} {row[name]:.4f}" for name in names if name in row)


class StepMonitor(keras.callbacks.Callback):
    """Monitors one epoch of `fit`: refuses a loss that is not finite, times steps, reports, and calls `after_step`.

    Args:
      epoch: from 1.
      speed: collects the times.
      reporter: receives each `Progress`.
      after_step: called with the optimizer's step once its loss is known to be finite; may save a checkpoint.
    """

    def __init__(self, epoch: int, speed: Speed, reporter: Reporter, after_step: Callable[[int], None]):
        super().__init__()
        self._epoch, self._speed, self._reporter, self._after_step = epoch, speed, reporter, after_step
        self._examples = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._step = int(self.model.optimizer.iterations.numpy())
        self._since = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        seconds, step = time.perf_counter() - self._since, int(self.model.optimizer.iterations.numpy())
        check_finite("loss", float(logs["loss"]), self._epoch, self._step + 1, step, self._causes)
        examples = int(logs["examples"]) - self._examples if "examples" in logs else None
        self._speed.add(seconds, step - self._step, examples)
        self._examples += examples or 0
        rate = examples / seconds if examples else None
        total, pace = self._reporter.total_steps, self._speed.recent_step_seconds
        left = None if total is None or pace is None else max(0, total - step) * pace
        self._reporter(Progress(self._epoch, step, float(logs["loss"]), rate, left))
        self._after_step(step)
        self._step, self._since = step, time.perf_counter()

    def _causes(self) -> str:
        return wrong_values(self.model)


def check_finite(
    name: str, value: float, epoch: int, first_step: int, last_step: int, causes: Callable[[], str] = str
) -> None:
    """Raises an error if a loss is infinite or not a number.

    Args:
      name: name of the loss.
      value: its value.
      epoch: from 1.
      first_step, last_step: the steps within which that happened.
      causes: describes what is wrong with the batches of these steps; "" if nothing is.

    Raises:
      ConsortError: it is; the message names these steps.
    """
    if not math.isfinite(value):
        steps = f"step {last_step}" if first_step >= last_step else f"steps {first_step} to {last_step}"
        wrong = causes()
        fix = (
            f"their batches hold values that are not finite numbers: {wrong}. Fix: correct these in the data"
            if wrong
            else "their batches hold finite numbers. Fix: lower learning_rate, and look for huge values in the inputs"
        )
        raise ConsortError(
            f"{name} became {value} at {steps} (epoch {epoch}); expected a finite number; {fix}; "
            "the last checkpoint is from before"
        )
