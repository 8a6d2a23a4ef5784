"""A tiny batch with every shape of feature, as single rows and as requests with two candidates."""

from typing import Any

import numpy as np
import tensorflow as tf

from transforms.features import ModelInput

SIZES = {"items": 7, "users": 5}
_USER = ModelInput(name="user", vocabulary="users", shape="scalar", entity="user")
_HISTORY = ModelInput(name="history", vocabulary="items", shape="ragged", entity="user")
ROW = (
    _USER,
    _HISTORY,
    ModelInput(name="item", vocabulary="items", shape="scalar", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="scalar", entity="item"),
)
REQUEST = (
    _USER,
    _HISTORY,
    ModelInput(name="item", vocabulary="items", shape="candidates", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="candidates", entity="item"),
)
_HISTORIES = tf.ragged.constant([[4, 6], [], [1]], dtype=tf.int64)
_USERS = tf.constant([1, 3, 0], tf.int64)
_ITEMS = np.array([[2, 5], [1, 1], [6, 0]], np.int64)
_PRICES = np.array([[1.0, 2.0], [-1.0, 0.5], [3.0, 0.0]], np.float32)


def row_batch(candidate: int = 0) -> dict[str, Any]:
    """Three rows: the requests' users, each with one of its candidates."""
    items, prices = tf.constant(_ITEMS[:, candidate]), tf.constant(_PRICES[:, candidate])
    return {"user": _USERS, "history": _HISTORIES, "item": items, "price": prices}


def request_batch() -> dict[str, Any]:
    """Three requests with two candidates each."""
    return {"user": _USERS, "history": _HISTORIES, "item": tf.constant(_ITEMS), "price": tf.constant(_PRICES)}


def with_random_weights(model: Any, batch: dict[str, Any]) -> Any:
    """The model, built, with weights drawn from the standard normal distribution."""
    model(batch)
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(sum(weight.shape)).normal(size=weight.shape))
    return model
