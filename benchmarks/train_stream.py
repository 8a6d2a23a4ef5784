"""The worker of CS3: towers with a ranker, with and without what they share, or a store alone, on rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.peers.task import CLICK_RATE, Task
from benchmarks.peers.worker import Run, serve
from benchmarks.train import FULL, STORE
from benchmarks.train_consort import PRECISIONS, set_threads, training
from benchmarks.train_requests import HISTORY, drawn_field, drawn_ids, table_sizes
from models.cotraining.cs3 import CS3
from models.layers.vector_store import VectorStore
from models.registry import build_model
from models.training.compiling import precision
from runs.provenance import machine
from simulation.cascade_log import feature_set
from simulation.parameters import World
from transforms.features import TIMESTAMP, ModelInput, Shape

BACKBONE, RANKER = "dssm", "target_attention_ranker"


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Trains with the metrics that `fit` keeps, or reads and writes a store."""
    set_threads(task)
    if task.model == STORE:
        return reads_and_writes(task), {"versions": machine()["versions"]}
    return training(make_model(task), make_dataset(task))


def make_model(task: Task) -> CS3:
    """Builds CS3 with all of its parts, or the same towers and ranker side by side."""
    is_full = task.model == FULL
    inputs, sizes = inputs_of_rows(), table_sizes(task)
    options = {"embedding_dim": task.width, "hidden_units": task.hidden_units}
    with precision(PRECISIONS[task.dtype]):
        towers = build_model(
            BACKBONE, inputs, sizes, seed=task.seed, cycle_adaptive=("user", "item") if is_full else (), **options
        )
        ranker = build_model(RANKER, inputs, sizes, seed=task.seed + 1, **options)
        return CS3(towers, ranker, cts=is_full, cms=is_full)


def inputs_of_rows() -> tuple[ModelInput, ...]:
    """Returns the fields of the simulator."""
    return feature_set(World()).model_inputs("row")


def make_dataset(task: Task) -> tf.data.Dataset:
    """Returns batches without end; ids by the law of the task; times never run backwards."""
    rng, sizes = np.random.default_rng(task.seed), table_sizes(task)
    batches = (task.batches, task.batch_size)
    features: dict[str, Any] = {TIMESTAMP: np.arange(np.prod(batches), dtype=np.int64).reshape(batches)}
    for item in inputs_of_rows():
        shape = (*batches, HISTORY) if item.shape is Shape.RAGGED else batches
        features[item.name] = drawn_field(rng, item, shape, sizes, task.exponent)
    label = (rng.random(batches) < CLICK_RATE).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((features, label)).repeat().prefetch(2)


def reads_and_writes(task: Task) -> Run:
    """Returns steps that only read a batch's vectors and write them."""
    rng = np.random.default_rng(task.seed)
    ids = tf.constant(drawn_ids(rng, (task.batches, task.batch_size), task.ids, task.exponent))
    vectors = tf.constant(rng.normal(size=(task.batch_size, task.width)), tf.float32)
    times = tf.range(task.batch_size, dtype=tf.int64)
    store = VectorStore(task.ids + 1, task.width)
    # Memory pages exist once written: before that reading costs nothing, and writing twice as much.
    store.build(None)
    store.vectors.assign(tf.ones_like(store.vectors))
    store.counts.assign(tf.ones_like(store.counts))
    store.last_times.assign(tf.ones_like(store.last_times))

    @tf.function(autograph=False)
    def step(which: tf.Tensor) -> tf.Tensor:
        batch = ids[which]
        read = store(batch)
        with tf.control_dependencies([read]):
            store.write(batch, vectors, times)
        return tf.reduce_mean(read)

    return _counted(step, task.batches)


def _counted(step: Callable[[tf.Tensor], tf.Tensor], batches: int) -> Run:
    def run(steps: int) -> float:
        last = float("nan")
        for number in range(steps):
            last = float(step(tf.constant(number % batches)))
        return last

    return run


if __name__ == "__main__":
    serve(prepare)
