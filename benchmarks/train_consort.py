"""Consort's worker: a model as `models.training.fit` compiles and trains it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import tensorflow as tf
import tf_keras as keras

from benchmarks.peers.task import Task, field_sizes, make_batches
from benchmarks.peers.worker import Run, serve
from models.cotraining.mutual_learning import MutualLearning
from models.registry import build_model
from models.training.compiling import Precision, compile_model, precision
from models.training.loops import keras_loop
from runs.provenance import machine
from transforms.features import ModelInput, Shape

VOCABULARY = "ids"
LEARNING_RATE = 1e-3
"""Keras' and PyTorch's default for Adam, which the peers keep."""

PRECISIONS: dict[str, Precision] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_open = ExitStack()


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Fields share one vocabulary, as those of the Criteo source do."""
    set_threads(task)
    return training(make_model(task), make_dataset(task))


def set_threads(task: Task) -> None:
    """Sets the number of TensorFlow's threads."""
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(task.threads)


def training(model: keras.Model, dataset: tf.data.Dataset) -> tuple[Run, dict[str, Any]]:
    """Returns a function that does what `fit` does in each step, without its callbacks, and what to report."""
    compile_model(model, LEARNING_RATE)
    # Open until the process ends: closing would remove the functions.
    _open.enter_context(keras_loop(model, dataset, None, 1))
    batches = iter(dataset)

    def run(steps: int) -> float:
        loss = float("nan")
        for _ in range(steps):
            loss = float(model.train_function(batches)["loss"])
        return loss

    return run, {"versions": machine()["versions"], "optimizer": type(model.optimizer).__name__}


def make_model(task: Task) -> keras.Model:
    """Builds one model, or several that teach each other."""
    inputs = [
        ModelInput(name=name, vocabulary=VOCABULARY, shape=Shape.SCALAR, entity="context") for name in _names(task)
    ]
    # Id 0 is padding.
    sizes = {VOCABULARY: task.ids + 1}
    return build_peers(task, inputs, sizes, MutualLearning)


def build_peers(
    task: Task, inputs: Sequence[ModelInput], sizes: Mapping[str, int], together: Callable[[list[Any]], keras.Model]
) -> keras.Model:
    """Builds the model of a task, or its peers, which `together` makes one model of."""
    options: dict[str, Any] = {"embedding_dim": task.width, "hidden_units": task.hidden_units}
    with precision(PRECISIONS[task.dtype]):
        models = [
            build_model(task.model, inputs, sizes, seed=task.seed + number, **options) for number in range(task.peers)
        ]
        return models[0] if task.peers == 1 else together(models)


def _names(task: Task) -> list[str]:
    return [f"field_{field:02}" for field in range(task.fields)]


def make_dataset(task: Task) -> tf.data.Dataset:
    """Returns batches without end, the fields' ids one after the other from 1."""
    ids, labels = make_batches(task)
    features, first = {}, 1
    for field, (name, size) in enumerate(zip(_names(task), field_sizes(task), strict=True)):
        features[name] = ids[..., field] + first
        first += size
    return tf.data.Dataset.from_tensor_slices((features, labels)).repeat().prefetch(2)


if __name__ == "__main__":
    serve(prepare)
