"""Small towers with a ranker, and a stream of rows for them."""

from typing import Any

import numpy as np
import tensorflow as tf

from models.cotraining.cs3 import CS3
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.dssm import DSSM
from tests.helpers.model_batches import ROW, SIZES
from transforms.features import TIMESTAMP

VECTOR, HIDDEN = 4, 3


def cs3(towers: dict[str, Any] | None = None, **options: Any) -> CS3:
    """Two towers and a ranker over the fields of `ROW`."""
    return CS3(
        DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, VECTOR), **(towers or {})),
        TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(5, HIDDEN), seed=2),
        user_feature="user",
        item_feature="item",
        **options,
    )


def events(count: int, seed: int = 0) -> tuple[dict[str, Any], tf.Tensor]:
    """Rows of a stream in order of time, and their labels; id 0 among them."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 3, count)
    history = tf.RaggedTensor.from_row_lengths(random.integers(1, 7, lengths.sum()), lengths)
    features = {
        "user": tf.constant(random.integers(0, 5, count)),
        "history": history,
        "item": tf.constant(random.integers(0, 7, count)),
        "price": tf.constant(random.normal(size=count), tf.float32),
        TIMESTAMP: tf.range(count, dtype=tf.int64) + 100,
    }
    return features, tf.constant(random.integers(0, 2, count), tf.float32)


def moved(model: Any, features: dict[str, Any]) -> Any:
    """The model, its weights away from zero; its caches stay as they are."""
    model(features)
    for index, weight in enumerate(model.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [7, index], stddev=0.3))
    return model
