"""Logs of a run for TensorBoard."""

import os
from collections.abc import Mapping

import tensorflow as tf

from models.training.progress import Progress


class BoardLog:
    """Writes the loss and the speed as training goes, and the metrics of each epoch.

    Args:
      directory: of the event files; None writes nothing.
      every: steps between two points of the loss.
    """

    def __init__(self, directory: str | os.PathLike[str] | None, every: int = 50):
        self._writer = None if directory is None else tf.summary.create_file_writer(os.fspath(directory))
        self._every, self._last = every, 0

    def steps(self, progress: Progress) -> None:
        """Takes what `fit` reports."""
        if self._writer is None or progress.step - self._last < self._every:
            return
        self._last = progress.step
        with self._writer.as_default(step=progress.step):
            tf.summary.scalar("train/loss", progress.loss)
            if progress.examples_per_second is not None:
                tf.summary.scalar("train/examples_per_second", progress.examples_per_second)

    def epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics after an epoch; `eval_` ones stand apart."""
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, value in metrics.items():
                side, _, rest = name.rpartition("eval_")
                tf.summary.scalar(f"eval/{rest}" if side == "" and name.startswith("eval_") else f"epoch/{name}", value)
        self._writer.flush()
