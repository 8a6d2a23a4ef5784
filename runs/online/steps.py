"""Steps on a stream's batches: in this process, or by workers while the weights lie on parameter servers."""

from typing import Any, Protocol

import tensorflow as tf
import tf_keras as keras

from models.training.distribution import cluster_under, has_servers
from models.training.loops import CoordinatorLoop
from runs.online.events import Batch


class Steps(Protocol):
    """Learns from batches in the order in which they are given; gives a loss as soon as one is known."""

    def train(self, batch: Batch) -> float | None:
        """Takes a batch, to learn from it now or soon."""

    def wait(self) -> float | None:
        """Returns when all batches taken are learned from."""


def steps_of(model: keras.Model, spec: Any) -> Steps:
    """The steps that fit a compiled model's strategy.

    Args:
      model: compiled, built under its strategy.
      spec: of a batch.
    """
    return ServerSteps(model, spec) if has_servers(model.distribute_strategy) else LocalSteps(model, spec)


class LocalSteps:
    """Each batch is learned from at once. Args: as `steps_of`."""

    def __init__(self, model: keras.Model, spec: Any):
        self._step = tf.function(model.train_step, input_signature=[spec], autograph=False)

    def train(self, batch: Batch) -> float | None:
        return float(self._step(batch)["loss"])

    def wait(self) -> float | None:
        return None


class ServerSteps:
    """Workers learn from some batches at a time, while the chief reads the next. Args: as `steps_of`."""

    def __init__(self, model: keras.Model, spec: Any):
        cluster = cluster_under(model.distribute_strategy)
        if cluster is None:
            raise ValueError("the model has no cluster; expected one that is built under parameter servers")
        self._model, self._spec = model, spec
        self._loop = CoordinatorLoop(model, cluster, steps=1)
        self._taken: list[Batch] = []

    def train(self, batch: Batch) -> float | None:
        self._taken.append(batch)
        return self.wait() if len(self._taken) >= self._loop.round_steps else None

    def wait(self) -> float | None:
        if not self._taken:
            return None
        self._loop.train_on(self._taken, self._spec)
        self._taken = []
        # A mean, which stays no number once one was.
        return float(self._model.get_metrics_result()["loss"])
