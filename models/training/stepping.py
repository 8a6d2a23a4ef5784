"""Training and evaluation over a dataset by Keras' `fit`, whose steps begin only once their batch is there."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import tensorflow as tf
import tf_keras as keras


class Loop(Protocol):
    """Goes over a dataset with a compiled model, and leaves the metrics in it."""

    def train(self, dataset: tf.data.Dataset, watch: keras.callbacks.Callback) -> bool:
        """Trains on each batch; gives whether there was one."""

    def evaluate(self, dataset: tf.data.Dataset) -> bool:
        """Evaluates on each batch; gives whether there was one."""


class KerasLoop:
    """Keras' own loop, with our training and test functions.

    Args:
      model: see `sound_steps`.
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
def sound_steps(
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
