"""Training and test functions for Keras' `fit` whose steps begin only once their batch is there."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras as keras


@contextlib.contextmanager
def sound_steps(model: keras.Model, train: tf.data.Dataset, test: tf.data.Dataset | None, steps: int) -> Iterator[None]:
    """Gives a compiled model our training and test functions, and takes them away at the end.

    Keras fetches the batch inside the compiled function. At the end of data of unknown length the
    fetch fails, but what does not wait for it may already have run: the optimizer's step count, a
    metric's count, dropout's state have then advanced by a step that never was, or have not, by
    chance. Here the batch is fetched first. Several replicas keep Keras' own functions.

    Args:
      model: compiled.
      train: of the batches to train on.
      test: of the batches to evaluate on.
      steps: training steps in one call.
    """
    if model.distribute_strategy.num_replicas_in_sync == 1:
        model.train_function = _function(model.train_step, train, steps)
        model.test_function = None if test is None else _function(model.test_step, test, 1)
    try:
        yield
    finally:
        model.train_function = model.test_function = None


def without_length(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, of a number that Keras does not know, so that it asks until there are no more."""
    return dataset.filter(lambda *_: True)


_Logs = dict[str, tf.Tensor]


def _function(step: Callable[[Any], _Logs], dataset: tf.data.Dataset, steps: int) -> Callable[[Any], _Logs]:
    # Keras converts each layer's `call` with AutoGraph by itself; converting all of Keras besides takes half a minute.
    compiled = tf.function(step, input_signature=[dataset.element_spec], autograph=False)

    def run(batches: Iterator[Any]) -> _Logs:
        logs = compiled(next(batches))  # StopIteration tells Keras that the data has ended.
        for _ in range(steps - 1):
            batch = next(batches, None)
            if batch is None:
                break
            logs = compiled(batch)
        return logs

    return run
