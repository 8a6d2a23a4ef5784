"""Requests with every shape of feature and with padding, for models that read them as sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.features import CANDIDATE, ModelInput

SIZES = {"items": 9, "users": 5, "categories": 4}
HISTORY = ("history", "history_category")
OFFERED = ("item", "category", "price")
INPUTS = (
    ModelInput(name="user", vocabulary="users", shape="scalar", entity="user"),
    ModelInput(name="hour", vocabulary=None, shape="scalar", entity="context"),
    ModelInput(name="history", vocabulary="items", shape="ragged", entity="user", max_length=4),
    ModelInput(name="history_category", vocabulary="categories", shape="ragged", entity="user", max_length=4),
    ModelInput(name="item", vocabulary="items", shape="candidates", entity="item"),
    ModelInput(name="category", vocabulary="categories", shape="candidates", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="candidates", entity="item"),
)
REAL = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], bool)


def set_batch(
    histories: Sequence[Sequence[int]] = ((4, 6, 2), (), (1,)),
    categories: Sequence[Sequence[int]] = ((1, 2, 1), (), (3,)),
) -> dict[str, Any]:
    """Three requests of up to four candidates; the second has no history."""
    items = np.array([[2, 5, 7, 1], [1, 8, 0, 0], [6, 3, 4, 0]], np.int64)
    return {
        "user": tf.constant([1, 3, 0], tf.int64),
        "hour": tf.constant([0.5, -1.0, 2.0]),
        "history": tf.ragged.constant(histories, tf.int64, ragged_rank=1),
        "history_category": tf.ragged.constant(categories, tf.int64, ragged_rank=1),
        "item": tf.constant(items),
        "category": tf.constant(items % 3 + (items > 0)),
        "price": tf.constant(np.where(REAL, items / 4 - 1, 0), tf.float32),
        CANDIDATE: tf.constant(REAL, tf.int64),
    }


def with_more_padding(batch: dict[str, Any], count: int = 3) -> dict[str, Any]:
    """The same requests, each with some more columns of padding that hold anything."""
    noise = {"item": 5, "category": 2, "price": 7.0, CANDIDATE: 0}
    return {
        **batch,
        **{name: tf.pad(batch[name], [[0, 0], [0, count]], constant_values=v) for name, v in noise.items()},
    }


def ordered(batch: dict[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """The same requests with their candidates in another order."""
    return {**batch, **{name: tf.gather(batch[name], order, axis=1) for name in (*OFFERED, CANDIDATE)}}


def moved(model: Any, batch: dict[str, Any]) -> Any:
    """The model with weights of which none is near zero, so that everything matters."""
    model(batch)
    for index, weight in enumerate(model.trainable_weights):
        weight.assign_add(np.random.default_rng(index).normal(size=weight.shape, scale=0.5))
    return model
