"""The worker of set rankers: one alone, or a Duet pair, on requests with the fields of the simulator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.peers.task import CLICK_RATE, Task
from benchmarks.peers.worker import Run, serve
from benchmarks.train_consort import build_peers, set_threads, training
from models.cotraining.duet import Duet
from simulation.cascade_log import feature_set
from simulation.parameters import World
from transforms.features import CANDIDATE, ModelInput, Shape

CANDIDATES, HISTORY = 100, 50
"""Candidates and history of each request, without padding."""

EXPOSED_SHARE = 0.1
LARGE_VOCABULARIES = ("user_id", "item_id")
"""Vocabularies that share the task's ids; the others are as small as the simulator's."""

SMALL_VOCABULARY = 25


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Trains with the metrics that `fit` keeps."""
    set_threads(task)
    return training(make_model(task), make_dataset(task))


def make_model(task: Task) -> keras.Model:
    """Builds one model, or two that label each other's unexposed candidates."""
    return build_peers(task, inputs_of_requests(), table_sizes(task), Duet)


def inputs_of_requests() -> tuple[ModelInput, ...]:
    """Returns the fields of the simulator."""
    return feature_set(World()).model_inputs("request")


def table_sizes(task: Task) -> dict[str, int]:
    """Returns the size of each vocabulary, with id 0 (padding)."""
    large = 1 + task.ids // len(LARGE_VOCABULARIES)
    vocabularies = [item.vocabulary for item in inputs_of_requests() if item.vocabulary is not None]
    return {vocabulary: large if vocabulary in LARGE_VOCABULARIES else SMALL_VOCABULARY for vocabulary in vocabularies}


def make_dataset(task: Task) -> tf.data.Dataset:
    """Returns batches without end; ids by the law of the task."""
    rng, sizes = np.random.default_rng(task.seed), table_sizes(task)
    shapes = {Shape.SCALAR: (), Shape.RAGGED: (HISTORY,), Shape.CANDIDATES: (CANDIDATES,)}
    batches = (task.batches, task.batch_size)
    features: dict[str, Any] = {}
    for item in inputs_of_requests():
        features[item.name] = drawn_field(rng, item, (*batches, *shapes[item.shape]), sizes, task.exponent)
    per_candidate = (*batches, CANDIDATES)
    features[CANDIDATE] = np.ones(per_candidate, np.int64)
    label = (rng.random(per_candidate) < CLICK_RATE).astype(np.float32)
    weight = (rng.random(per_candidate) < EXPOSED_SHARE).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((features, label * weight, weight)).repeat().prefetch(2)


def drawn_field(
    rng: np.random.Generator, item: ModelInput, shape: tuple[int, ...], sizes: Mapping[str, int], exponent: float
) -> Any:
    """Draws values of a field: numbers, ids of its vocabulary, or lists of them."""
    if item.vocabulary is None:
        values = rng.normal(size=shape).astype(np.float32)
    else:
        values = drawn_ids(rng, shape, sizes[item.vocabulary] - 1, exponent)
    return _as_lists(values) if item.shape is Shape.RAGGED else values


def drawn_ids(rng: np.random.Generator, shape: tuple[int, ...], size: int, exponent: float) -> np.ndarray:
    """Draws ids from 1 to `size`, the k-th as often as 1 / k^exponent."""
    cumulated = np.cumsum(np.arange(1.0, size + 1) ** -exponent)
    return 1 + np.searchsorted(cumulated, rng.random(shape) * cumulated[-1], side="right")


def _as_lists(ids: np.ndarray) -> tf.RaggedTensor:
    """Returns ragged `[K, B, (N)]` of unknown lengths, like lists from files."""
    batches, requests, length = ids.shape
    lengths = [[requests] * batches, [length] * (batches * requests)]
    return tf.RaggedTensor.from_nested_row_lengths(ids.ravel(), lengths)


if __name__ == "__main__":
    serve(prepare)
