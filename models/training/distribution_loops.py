"""Training and evaluation over a dataset by several replicas, or by workers that a coordinator sends batches to."""

import contextlib
import ctypes
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.training.distribution import cluster_under, part_of
from models.training.distribution_cluster import Cluster, listed, lost
from models.training.stepping import Loop, sound_steps

_LOG = logging.getLogger(__name__)
ROUND_STEPS = 16
"""Steps a worker between two looks at the loss and at what is due, where workers do not wait for each other."""
LOST_AFTER_S = 30.0
"""So long all workers may be away before a run gives up; one that is back goes on."""
_LOOK_EVERY_S = 5.0
WATCHED_METRICS = ("loss", "examples")
"""Of each step; the others are told after an epoch."""


@contextlib.contextmanager
def loop_of(model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset | None, steps: int) -> Iterator[Loop]:
    """The loop that fits the strategy of a compiled model.

    Args:
      model: compiled.
      train: of the batches to train on.
      test: of the batches to evaluate on.
      steps: training steps between two looks at the loss and at what is due.
    """
    with model.distribute_strategy.scope():
        is_default = not tf.distribute.has_strategy()
    if is_default:
        with sound_steps(model, train, test, steps) as loop:
            yield loop
        return
    cluster = cluster_under(model.distribute_strategy)
    with_servers = cluster is not None and "ps" in cluster.jobs
    several = CoordinatorLoop(model, cluster, steps) if cluster and with_servers else ReplicaLoop(model, cluster, steps)
    model.train_function = several  # Where `wrong_values` looks for the last batches.
    try:
        yield several
    finally:
        model.train_function = None


class ReplicaLoop:
    """Each replica takes its part of a batch; together they do the step that one would do on the whole.

    Args:
      model: compiled, built under its strategy.
      cluster: the processes; None: this one has all replicas.
      steps: as in `loop_of`.
    """

    def __init__(self, model: keras.Model, cluster: Cluster | None, steps: int):
        self._model, self._steps = model, steps
        processes = 1 if cluster is None else sum(map(len, cluster.jobs.values()))
        self._has_parts = processes > 1
        self._here = model.distribute_strategy.num_replicas_in_sync // processes
        self._functions: dict[str, Callable[[Any], Any]] = {}
        self.batches: list[Any] = []

    def train(self, dataset: tf.data.Dataset, watch: keras.callbacks.Callback) -> bool:
        step = self._function(self._model.train_step, dataset)
        _begin(self._model, watch)
        batches, calls = iter(dataset), 0
        while group := list(itertools.islice(batches, self._steps)):
            self.batches = group
            for batch in group:
                logs = step(batch)
            watch.on_train_batch_end(calls, logs)
            calls += 1
        return calls > 0

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        step = self._function(self._model.test_step, dataset)
        _begin(self._model)
        count = 0
        for batch in dataset:
            step(batch)
            count += 1
        return count > 0

    def summed(self, counts: list[int]) -> list[int]:
        """Counts over all processes, each of which must ask at the same time."""
        if not self._has_parts or not counts:
            return counts
        strategy = self._model.distribute_strategy
        each = strategy.run(lambda: tf.constant(counts, tf.float32))
        total = strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None) / self._here
        return [int(count) for count in total.numpy()]

    def _function(self, step: Callable[[Any], Any], dataset: tf.data.Dataset) -> Callable[[Any], Any]:
        model, strategy, here = self._model, self._model.distribute_strategy, self._here

        def run(batch: Any) -> dict[str, tf.Tensor]:
            def replica() -> None:
                index = tf.distribute.get_replica_context().replica_id_in_sync_group % here
                step(part_of(batch, index, here) if here > 1 else batch)

            with _without_results(model):
                strategy.run(replica)
            return {metric.name: metric.result() for metric in model.metrics if metric.name in WATCHED_METRICS}

        return _compiled(self._functions, step, run, dataset.element_spec)


class CoordinatorLoop:
    """Sends whole batches, in their order, to whichever worker is free; the weights lie on parameter servers.

    With one worker the steps are those of a single process. Several do not wait for each other: a step
    may work on weights from before another's, and of two steps that move a row at the same time one may
    be lost. The batch of a worker that goes away is given to another.

    Args:
      model: compiled, built under its strategy.
      cluster: the processes.
      steps: a round, after which all workers have finished, has so many steps, or 16 a worker if that is more:
        `round_steps`.
    """

    def __init__(self, model: keras.Model, cluster: Cluster, steps: int):
        self._model = model
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(model.distribute_strategy)
        # Its destructor waits for workers that are lost; a process could never end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._coordinator))
        self._peers = _Peers(cluster)
        self.round_steps = max(steps, ROUND_STEPS * len(cluster.jobs["worker"]))
        self._functions: dict[str, Callable[[Any], Any]] = {}
        self.batches: list[Any] = []

    def train(self, dataset: tf.data.Dataset, watch: keras.callbacks.Callback) -> bool:
        step = self._function(self._model.train_step, dataset.element_spec)
        _begin(self._model, watch)
        batches, rounds = iter(dataset), 0
        while self._round(step, batches):
            watch.on_train_batch_end(rounds, self._model.get_metrics_result())
            rounds += 1
        return rounds > 0

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        step = self._function(self._model.test_step, dataset.element_spec)
        _begin(self._model)
        batches, rounds = iter(dataset), 0
        while self._round(step, batches):
            rounds += 1
        return rounds > 0

    def train_on(self, batches: Sequence[Any], spec: Any) -> None:
        """Trains on some batches more, and returns when that is done; the metrics go on.

        Args:
          batches: at most `round_steps`.
          spec: of a batch.
        """
        self._round(self._function(self._model.train_step, spec), iter(batches))

    def _round(self, step: Callable[[Any], None], batches: Iterator[Any]) -> int:
        """Sends a round's batches, waits until all are done, and gives their number."""
        self.batches = []
        for batch in itertools.islice(batches, self.round_steps):
            self._coordinator.schedule(step, args=(batch,))
            self.batches.append(batch)
        self._peers.begin()
        # `join` would wait for ever for workers that do not come back.
        while not self._coordinator.done():
            self._peers.look()
            time.sleep(0.001)
        return len(self.batches)

    def _function(self, step: Callable[[Any], Any], spec: Any) -> Callable[[Any], None]:
        strategy = self._model.distribute_strategy

        def run(batch: Any) -> None:
            with _without_results(self._model):
                strategy.run(step, args=(batch,))

        return _compiled(self._functions, step, run, spec)


@contextlib.contextmanager
def _without_results(model: keras.Model) -> Iterator[None]:
    """A step that is compiled inside updates the metrics, but does not tell them.

    To tell them costs as many messages as there are metric variables.
    """
    model.get_metrics_result = dict
    try:
        yield
    finally:
        del model.get_metrics_result


def _compiled(
    known: dict[str, Callable[[Any], Any]],
    step: Callable[[Any], Any],
    run: Callable[[Any], Any],
    spec: Any,
) -> Callable[[Any], Any]:
    """`run` on batches of a spec, compiled the first time that a model's `step` is asked for."""
    if step.__name__ not in known:
        known[step.__name__] = tf.function(run, input_signature=[spec], autograph=False)
    return known[step.__name__]


class _Peers:
    """Looks, now and then while a round lasts, whether the other processes still answer."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._told: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """A round begins to wait."""
        self._looked = time.monotonic()
        self._away_since: float | None = None

    def look(self) -> None:
        """Tells of each lost worker once.

        Raises:
          ConsortError: a parameter server is lost, or all workers are.
        """
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        servers, workers = self._cluster.silent(("ps",)), self._cluster.silent(("worker",))
        if servers:
            raise lost(servers)
        self._check(workers)
        new = {name: address for name, address in workers.items() if name not in self._told}
        if new:
            go_on = len(workers) < len(self._cluster.jobs["worker"])
            then = "the others go on" if go_on else f"waiting {LOST_AFTER_S:.0f} s for it to come back"
            _LOG.warning("lost %s; %s", listed(new), then)
        self._told, self._looked = set(workers), time.monotonic()

    def _check(self, silent: dict[str, str]) -> None:
        now = time.monotonic()
        if not silent:
            self._away_since = None
        elif self._away_since is None and len(silent) == len(self._cluster.jobs["worker"]):
            self._away_since = now
        # Once all were away TensorFlow goes on only when all are back.
        if self._away_since is not None and now - self._away_since > LOST_AFTER_S:
            raise lost(silent)


def _begin(model: keras.Model, watch: keras.callbacks.Callback | None = None) -> None:
    with model.distribute_strategy.scope():
        model.reset_metrics()
    if watch is not None:
        watch.set_model(model)
        watch.on_train_begin()
