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
"""Steps a worker between two looks at the loss and at what is due, where workers do not wait for each other."""
WATCHED_METRICS = ("loss", "examples")
"""Of each step; the others are told after an epoch."""


class Loop(Protocol):
    """Goes over a dataset with a compiled model, and leaves the metrics in it."""

    def train(self, dataset: tf.data.Dataset, watch: keras.callbacks.Callback) -> bool:
        """Trains on each batch; gives whether there was one."""

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        """Evaluates on each batch; gives whether there was one."""


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
        with keras_loop(model, train, test, steps) as loop:
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


class KerasLoop:
    """Keras' own loop, with our training and test functions.

    Args:
      model: see `keras_loop`.
    """

    def __init__(self, model: keras.Model):
        self._model = model

    def train(self, dataset: tf.data.Dataset, watch: keras.callbacks.Callback) -> bool:
        return _had_batch(lambda: self._model.fit(without_length(dataset), callbacks=[watch], verbose=0))

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        batches = _TestBatches()
        had = _had_batch(lambda: self._model.evaluate(without_length(dataset), callbacks=[batches], verbose=0))
        return had and batches.count > 0


@contextlib.contextmanager
def keras_loop(
    model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset | None, steps: int
) -> Iterator[KerasLoop]:
    """Gives a compiled model our training and test functions, and takes them away at the end.

    Keras fetches the batch inside the compiled function. At the end of data of unknown length the
    fetch fails, but what does not wait for it may already have run: the optimizer's step count, a
    metric's count, dropout's state have then advanced by a step that never was, or have not, by
    chance. Here the batch is fetched first.

    Args:
      model: compiled.
      train: of the batches to train on.
      test: of the batches to evaluate on.
      steps: training steps in one call.
    """
    model.train_function = _Function(model.train_step, train, steps)
    model.test_function = None if test is None else _Function(model.test_step, test, 1)
    try:
        yield KerasLoop(model)
    finally:
        model.train_function = model.test_function = None


def without_length(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, of a number that Keras does not know, so that it asks until there are no more."""
    return dataset.filter(lambda *_: True)


class _TestBatches(keras.callbacks.Callback):
    """Counts the batches of an `evaluate`, of which Keras says nothing if there are none."""

    count = 0

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1


def _had_batch(work: Callable[[], Any]) -> bool:
    """False if there was no batch, as after a checkpoint of an epoch's last step."""
    try:
        work()
    except ValueError as error:
        if "Unexpected result of" not in str(error):  # Keras' complaint about no batch.
            raise
        return False
    return True


_Logs = dict[str, tf.Tensor]


class _Function:
    """Some steps on the next batches, which it keeps until it is called again."""

    def __init__(self, step: Callable[[Any], _Logs], dataset: tf.data.Dataset, steps: int):
        # Keras converts each layer's `call` with AutoGraph by itself; converting all of Keras besides takes
        # half a minute.
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
                step(slice_of(batch, index, here) if here > 1 else batch)

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
        self._monitor = WorkerMonitor(cluster)
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
        self._monitor.begin()
        # `join` would wait for ever for workers that do not come back.
        while not self._coordinator.done():
            self._monitor.look()
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


def _begin(model: keras.Model, watch: keras.callbacks.Callback | None = None) -> None:
    with model.distribute_strategy.scope():
        model.reset_metrics()
    if watch is not None:
        watch.set_model(model)
        watch.on_train_begin()


def wrong_values(model: keras.Model) -> str:
    """Which numbers of the last batches trained on are not finite; "" if all are."""
    function = model.train_function
    batches = getattr(function, "batches", [])
    counts: dict[tuple[str, int], int] = {}
    for number, batch in enumerate(batches, 1):
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        named = {**features} if isinstance(features, dict) else {"features": features}
        for name, values in {**named, "label": label, "weight": weight}.items():
            flat = getattr(values, "flat_values", values)
            if flat is not None and flat.dtype.is_floating:
                counts[name, number] = _num_wrong(flat)
    # Other processes may hold the part of the batch that is wrong.
    together = getattr(function, "summed", list)(list(counts.values()))
    found = zip(counts, together, strict=True)
    return ", ".join(f"{count} of {name!r} in batch {k} of {len(batches)}" for (name, k), count in found if count)


def _num_wrong(values: tf.Tensor) -> int:
    return int(tf.math.count_nonzero(~tf.math.is_finite(values)))
