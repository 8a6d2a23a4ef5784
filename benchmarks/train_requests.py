"""The worker of set rankers: one alone, or a Duet pair, on requests with the fields of the simulator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.peers.task import CLICK_RATE, Task
from benchmarks.peers.worker import Run, serve
from benchmarks.train_consort import PRECISIONS, training
from models.cotraining.duet import Duet
from models.registry import build_model
from models.training.compiling import precision
from runs.provenance import machine
from simulation.cascade_log import feature_set
from simulation.parameters import World
from transforms.features import CANDIDATE, ModelInput, Shape

CANDIDATES, HISTORY = 100, 50
"""Of each request; none is padding."""

EXPOSED_SHARE = 0.1
LARGE_VOCABULARIES = ("user_id", "item_id")
"""They share the task's ids; the other vocabularies are as small as the simulator's."""

SMALL_VOCABULARY = 25


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Trains with the metrics that `fit` keeps."""
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(task.threads)
    model = make_model(task)
    run = training(model, make_dataset(task))
    return run, {"versions": machine()["versions"], "optimizer": type(model.optimizer).__name__}


def make_model(task: Task) -> keras.Model:
    """One model, or two that label each other's unexposed candidates."""
    inputs = inputs_of_requests()
    with precision(PRECISIONS[task.dtype]):
        models = [
            build_model(
                task.model,
                inputs,
                table_sizes(task),
                embedding_dim=task.width,
                hidden_units=task.hidden_units,
                seed=task.seed + number,
            )
            for number in range(task.peers)
        ]
        return models[0] if task.peers == 1 else Duet(models)


def inputs_of_requests() -> tuple[ModelInput, ...]:
    """The simulator's fields."""
    return feature_set(World()).model_inputs("request")


def table_sizes(task: Task) -> dict[str, int]:
    """Of each vocabulary, id 0 (padding) included."""
    large = 1 + task.ids // len(LARGE_VOCABULARIES)
    vocabularies = [item.vocabulary for item in inputs_of_requests() if item.vocabulary is not None]
    return {vocabulary: large if vocabulary in LARGE_VOCABULARIES else SMALL_VOCABULARY for vocabulary in vocabularies}


def make_dataset(task: Task) -> tf.data.Dataset:
    """Batches without end; ids by the law of the task."""
    rng, sizes = np.random.default_rng(task.seed), table_sizes(task)
    shapes = {Shape.SCALAR: (), Shape.RAGGED: (HISTORY,), Shape.CANDIDATES: (CANDIDATES,)}
    batches = (task.batches, task.batch_size)
    features: dict[str, Any] = {}
    for item in inputs_of_requests():
        features[item.name] = drawn_field(rng, item, (*batches, *shapes[item.shape]), sizes, task.exponent)
    offered = (*batches, CANDIDATES)
    features[CANDIDATE] = np.ones(offered, np.int64)
    label = (rng.random(offered) < CLICK_RATE).astype(np.float32)
    weight = (rng.random(offered) < EXPOSED_SHARE).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((features, label * weight, weight)).repeat().prefetch(2)


def drawn_field(
    rng: np.random.Generator, item: ModelInput, shape: tuple[int, ...], sizes: Mapping[str, int], exponent: float
) -> Any:
    """Values of a field: numbers, ids of its vocabulary, or lists of them."""
    if item.vocabulary is None:
        values = rng.normal(size=shape).astype(np.float32)
    else:
        values = drawn_ids(rng, shape, sizes[item.vocabulary] - 1, exponent)
    return _as_lists(values) if item.shape is Shape.RAGGED else values


def drawn_ids(rng: np.random.Generator, shape: tuple[int, ...], size: int, exponent: float) -> np.ndarray:
    """Ids from 1 to `size`, the k-th as often as 1 / k^exponent."""
    cumulated = np.cumsum(np.arange(1.0, size + 1) ** -exponent)
    return 1 + np.searchsorted(cumulated, rng.random(shape) * cumulated[-1], side="right")


def _as_lists(ids: np.ndarray) -> tf.RaggedTensor:
    """`[K, B, (N)]`, not known to be of one length, as lists that were read are not."""
    batches, requests, length = ids.shape
    lengths = [[requests] * batches, [length] * (batches * requests)]
    return tf.RaggedTensor.from_nested_row_lengths(ids.ravel(), lengths)


if __name__ == "__main__":
    serve(prepare)
