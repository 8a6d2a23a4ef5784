"""Loops over a dataset that train or evaluate a compiled model: Keras' own, of replicas, and of a coordinator."""

import contextlib
import ctypes
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import tensorflow as tf
import tf_keras as keras

from models.training.cluster import Cluster, WorkerMonitor
from models.training.distribution import cluster_under, slice_of

ROUND_STEPS = 16
"""Steps per worker between two reports of the loss, where workers do not wait for each other."""
STEP_METRICS = ("loss", "examples")
"""Metrics that each step reports; the others are reported after an epoch."""


class Loop(Protocol):
    """Runs a compiled model over a dataset; the metrics stay in the model."""

    def train(self, dataset: tf.data.Dataset, monitor: keras.callbacks.Callback) -> bool:
        """Trains on each batch; returns True if there was one."""

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        """Evaluates on each batch; returns True if there was one."""


@contextlib.contextmanager
def loop_of(model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset | None, steps: int) -> Iterator[Loop]:
    """Yields the loop for the strategy of a compiled model.

    Args:
      model: compiled.
      train: the batches to train on, or others of the same form.
      test: the batches to evaluate on, or others of the same form.
      steps: training steps between two reports of the loss.
    """
    with model.distribute_strategy.scope():
        is_default = not tf.distribute.has_strategy()
    if is_default:
        with keras_loop(model, train, test, steps) as loop:
            yield loop
        return
    cluster = cluster_under(model.distribute_strategy)
    distributed: ReplicaLoop | CoordinatorLoop
    if cluster is not None and "ps" in cluster.jobs:
        distributed = CoordinatorLoop(model, cluster, steps)
    else:
        distributed = ReplicaLoop(model, cluster, steps)
    model.train_function = distributed  # `wrong_values` reads the last batches from it.
    try:
        yield distributed
    finally:
        model.train_function = None


class KerasLoop:
    """Keras' `fit` and `evaluate`, with the functions of `keras_loop`.

    Args:
      model: compiled, inside `keras_loop`.
    """

    def __init__(self, model: keras.Model):
        self._model = model

    def train(self, dataset: tf.data.Dataset, monitor: keras.callbacks.Callback) -> bool:
        return _had_batch(lambda: keras.Model.fit(self._model, without_length(dataset), callbacks=[monitor], verbose=0))

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        batches = _TestBatches()
        had = _had_batch(lambda: self._model.evaluate(without_length(dataset), callbacks=[batches], verbose=0))
        return had and batches.count > 0


@contextlib.contextmanager
def keras_loop(
    model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset | None, steps: int
) -> Iterator[KerasLoop]:
    """Sets training and test functions of a compiled model that fetch each batch first, and removes them at the end.

    Keras fetches the batch inside the compiled function. At the end of data of unknown length the
    fetch fails, but operations that do not depend on it may already have run: the optimizer's step count, a metric's
    count, dropout's state have then advanced, or have not, by chance. Here the batch is fetched first.

    Args:
      model: compiled.
      train: the batches to train on, or others of the same form.
      test: the batches to evaluate on, or others of the same form.
      steps: training steps in one call.
    """
    model.train_function = _Function(model.train_step, train, steps)
    model.test_function = None if test is None else _Function(model.test_step, test, 1)
    try:
        yield KerasLoop(model)
    finally:
        model.train_function = model.test_function = None


def without_length(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the dataset with unknown cardinality, so that Keras iterates until its end."""
    return dataset.filter(lambda *_: True)


class _TestBatches(keras.callbacks.Callback):
    """Counts the batches of an `evaluate`: Keras does not report that there were none."""

    count = 0

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1


def _had_batch(run: Callable[[], Any]) -> bool:
    """Returns False if there was no batch, as after a checkpoint of an epoch's last step."""
    try:
        run()
    except ValueError as error:
        if "Unexpected result of" not in str(error):  # Keras' complaint about no batch.
            raise
        return False
    return True


_Logs = dict[str, tf.Tensor]


class _Function:
    """Runs some steps on the next batches, and keeps these until the next call."""

    def __init__(self, step: Callable[[Any], _Logs], dataset: tf.data.Dataset, steps: int):
        # Keras converts each layer's `call` with AutoGraph itself; converting all of Keras, too, takes half a minute.
        self._compiled = tf.function(step, input_signature=[dataset.element_spec], autograph=False)
        self._steps = steps
        self.batches: list[Any] = []

    def __call__(self, batches: Iterator[Any]) -> _Logs:
        self.batches = [next(batches)]  # StopIteration tells Keras that the data has ended.
        logs: _Logs = self._compiled(self.batches[0])
        for _ in range(self._steps - 1):
            batch = next(batches, None)
            if batch is None:
                break
            self.batches.append(batch)
            logs = self._compiled(batch)
        return logs


class ReplicaLoop:
    """Each replica takes its slice of a batch; together they take the step that one would take on the batch.

    Args:
      model: compiled, built under its strategy.
      cluster: the processes; None: all replicas are in this one.
      steps: as in `loop_of`.
    """

    def __init__(self, model: keras.Model, cluster: Cluster | None, steps: int):
        self._model, self._steps = model, steps
        processes = 1 if cluster is None else sum(map(len, cluster.jobs.values()))
        self._is_distributed = processes > 1
        self._here = model.distribute_strategy.num_replicas_in_sync // processes
        self._functions: dict[str, Callable[[Any], Any]] = {}
        self.batches: list[Any] = []

    def train(self, dataset: tf.data.Dataset, monitor: keras.callbacks.Callback) -> bool:
        step = self._function(self._model.train_step, dataset)
        _begin(self._model, monitor)
        batches, calls = iter(dataset), 0
        while group := list(itertools.islice(batches, self._steps)):
            self.batches = group
            for batch in group:
                logs = step(batch)
            monitor.on_train_batch_end(calls, logs)
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
        """Returns counts summed over all processes, each of which must call it at the same time."""
        if not self._is_distributed or not counts:
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
                step(slice_of(batch, index, here) if here > 1 else batch)

            with _without_results(model):
                strategy.run(replica)
            return {metric.name: metric.result() for metric in model.metrics if metric.name in STEP_METRICS}

        return _compiled(self._functions, step, run, dataset.element_spec)


class CoordinatorLoop:
    """Sends each batch, in order, to the next free worker; the weights are on parameter servers.

    With one worker the steps are those of a single process. Several do not wait for each other: a step may use
    weights from before another step, and of two steps that update a row at the same time one may be lost. The batch
    of a worker that is lost goes to another.

    Args:
      model: compiled, built under its strategy.
      cluster: the processes.
      steps: least number of steps of a round, at whose end all workers have finished; `round_steps` is at least 16
        per worker.
    """

    def __init__(self, model: keras.Model, cluster: Cluster, steps: int):
        self._model = model
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(model.distribute_strategy)
        # Its destructor waits for lost workers: the process could never end.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._coordinator))
        self._monitor = WorkerMonitor(cluster)
        self.round_steps = max(steps, ROUND_STEPS * len(cluster.jobs["worker"]))
        self._functions: dict[str, Callable[[Any], Any]] = {}
        self.batches: list[Any] = []

    def train(self, dataset: tf.data.Dataset, monitor: keras.callbacks.Callback) -> bool:
        step = self._function(self._model.train_step, dataset.element_spec)
        _begin(self._model, monitor)
        batches, rounds = iter(dataset), 0
        while self._round(step, batches):
            monitor.on_train_batch_end(rounds, self._model.get_metrics_result())
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
        """Trains on further batches, and waits until that is done; the metrics accumulate.

        Args:
          batches: at most `round_steps`.
          spec: spec of a batch.
        """
        self._round(self._function(self._model.train_step, spec), iter(batches))

    def _round(self, step: Callable[[Any], None], batches: Iterator[Any]) -> int:
        """Sends the batches of a round, waits until all are done, and returns their number."""
        self.batches = []
        for batch in itertools.islice(batches, self.round_steps):
            self._coordinator.schedule(step, args=(batch,))
            self.batches.append(batch)
        self._monitor.begin()
        # `join` would wait forever for workers that do not return.
        while not self._coordinator.done():
            self._monitor.check()
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
    """Lets a step that is compiled inside update the metrics without returning them.

    Returning them costs one message per metric variable.
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
    """Returns `run` on batches of a spec, compiled at the first call for a model's `step`."""
    if step.__name__ not in known:
        known[step.__name__] = tf.function(run, input_signature=[spec], autograph=False)
    return known[step.__name__]


def _begin(model: keras.Model, monitor: keras.callbacks.Callback | None = None) -> None:
    with model.distribute_strategy.scope():
        model.reset_metrics()
    if monitor is not None:
        monitor.set_model(model)
        monitor.on_train_begin()


def wrong_values(model: keras.Model) -> str:
    """Returns which numbers of the last training batches are not finite; "" if all are."""
    function = model.train_function
    batches = getattr(function, "batches", [])
    counts: dict[tuple[str, int], int] = {}
    for number, batch in enumerate(batches, 1):
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        named = {**features} if isinstance(features, dict) else {"features": features}
        for name, values in {**named, "label": label, "weight": weight}.items():
            flat = getattr(values, "flat_values", values)
            if flat is not None and flat.dtype.is_floating:
                counts[name, number] = _num_not_finite(flat)
    # The wrong values may be in another process's shard of the batch.
    totals = getattr(function, "summed", list)(list(counts.values()))
    by_place = zip(counts, totals, strict=True)
    return ", ".join(f"{count} of {name!r} in batch {k} of {len(batches)}" for (name, k), count in by_place if count)


def _num_not_finite(values: tf.Tensor) -> int:
    return int(tf.math.count_nonzero(~tf.math.is_finite(values)))
