from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.ranking.deepfm import DeepFM
from tests.helpers.layer_check import check_layer
from transforms.features import ModelInput

_SIZES = {"items": 7, "users": 5}
_USER = ModelInput(name="user", space="users", shape="scalar", entity="user")
_HISTORY = ModelInput(name="history", space="items", shape="ragged", entity="user")
_ROW = (
    _USER,
    _HISTORY,
    ModelInput(name="item", space="items", shape="scalar", entity="item"),
    ModelInput(name="price", space=None, shape="scalar", entity="item"),
)
_REQUEST = (
    _USER,
    _HISTORY,
    ModelInput(name="item", space="items", shape="candidates", entity="item"),
    ModelInput(name="price", space=None, shape="candidates", entity="item"),
)
_HISTORIES = tf.ragged.constant([[4, 6], [], [1]], dtype=tf.int64)
_USERS = tf.constant([1, 3, 0], tf.int64)
_ITEMS = np.array([[2, 5], [1, 1], [6, 0]], np.int64)
_PRICES = np.array([[1.0, 2.0], [-1.0, 0.5], [3.0, 0.0]], np.float32)


def _row_batch(candidate: int) -> dict[str, Any]:
    items, prices = tf.constant(_ITEMS[:, candidate]), tf.constant(_PRICES[:, candidate])
    return {"user": _USERS, "history": _HISTORIES, "item": items, "price": prices}


def _request_batch() -> dict[str, Any]:
    return {"user": _USERS, "history": _HISTORIES, "item": tf.constant(_ITEMS), "price": tf.constant(_PRICES)}


def _model(inputs: tuple[ModelInput, ...] = _ROW, **options: Any) -> DeepFM:
    return DeepFM(inputs, _SIZES, embedding_dim=2, hidden_units=(4, 3), **options)


def _with_random_weights(model: DeepFM, batch: dict[str, Any]) -> DeepFM:
    model(batch)
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(sum(weight.shape)).normal(size=weight.shape))
    return model


def test_logit_is_linear_terms_and_pairs_and_mlp() -> None:
    model = _with_random_weights(_model(), _row_batch(0))
    embeddings, linear = (part.numpy() for part in model.embeddings(_row_batch(0)))
    pairs = sum((embeddings[:, i] * embeddings[:, j]).sum(-1) for i in range(4) for j in range(i))
    hidden, weights = embeddings.reshape(3, 8), [weight.numpy() for weight in model.mlp.weights]
    for kernel, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    deep = (hidden @ weights[4] + weights[5])[:, 0]
    np.testing.assert_allclose(model(_row_batch(0)).numpy(), linear.sum(1) + pairs + deep, rtol=1e-4)


def test_bias_is_added_to_every_logit() -> None:
    model = _with_random_weights(_model(), _row_batch(0))
    before = model(_row_batch(0)).numpy()
    model.mlp.weights[-1].assign_add([2.5])
    np.testing.assert_allclose(model(_row_batch(0)).numpy(), before + 2.5, rtol=1e-5)


def test_scores_of_a_request_are_those_of_its_rows() -> None:
    rows, requests = (
        _with_random_weights(_model(), _row_batch(0)),
        _with_random_weights(_model(_REQUEST), _request_batch()),
    )
    _align(rows, requests)
    logits = requests(_request_batch()).numpy()
    assert logits.shape == (3, 2)
    for candidate in range(2):
        np.testing.assert_allclose(logits[:, candidate], rows(_row_batch(candidate)).numpy(), rtol=1e-4)


def _align(rows: DeepFM, requests: DeepFM) -> None:
    """Orders the first kernel of `requests` as its own fields stand."""
    kernel = rows.mlp.weights[0].numpy().reshape(4, 2, 4)
    order = [rows.embeddings.field_names.index(name) for name in requests.embeddings.field_names]
    requests.mlp.weights[0].assign(kernel[order].reshape(8, 4))


@pytest.mark.parametrize("training", [False, True])
def test_a_missing_id_says_nothing_whatever_row_0_holds(training: bool) -> None:
    model = _with_random_weights(_model(), _row_batch(1))
    before = model(_row_batch(1), training=training).numpy()
    for table in model.embeddings.tables.values():
        table.assign(tf.concat([tf.fill([1, 3], 1e6), table[1:]], axis=0))
    np.testing.assert_array_equal(model(_row_batch(1), training=training).numpy(), before)


@pytest.mark.parametrize(
    ("inputs", "batch", "options"),
    [(_ROW, _row_batch(0), {"dropout": 0.2}), (_REQUEST, _request_batch(), {"batch_norm": True, "embedding_l2": 1e-3})],
)
def test_is_a_sound_model(
    inputs: tuple[ModelInput, ...], batch: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    check_layer(lambda: _model(inputs, **options), batch, tmp_path)
