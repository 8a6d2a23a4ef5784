"""FISM with features: the formula by hand, what it starts as, and soundness."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.layers.tower_caches import TowerCaches
from models.retrieval.fism import FISM
from tests.helpers.layer_check import check_layer
from tests.helpers.model_batches import ROW, SIZES, row_batch


def _model(**options: Any) -> FISM:
    return FISM(ROW, SIZES, embedding_dim=3, hidden_units=(5,), **options)


def _caches() -> TowerCaches:
    return TowerCaches({"user": 5, "item": 7}, {"user": 3, "item": 3}, 3, features={"user": "user", "item": "item"})


def test_the_score_is_that_of_the_sums_by_hand() -> None:
    model = _model(residual=True)
    model(row_batch())
    for index, weight in enumerate(model.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [7, index], stddev=0.3))
    sets = model.look_up(row_batch()).sets
    mask = sets.history_mask.numpy()[..., None, None]
    mean = (sets.history.numpy() * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    assert model.mean is not None
    latest, before = np.exp(model.mean.weight.numpy()[:2])
    events = sets.history.numpy()[:, :, 0]
    two = (before * events[0, 0] + latest * events[0, 1]) / (before + latest)
    history = np.stack([two, 0 * events[1, 0], events[2, 0]])
    request, item = sets.request.numpy(), sets.candidates.numpy()[:, 0]

    def residual(side: str, *parts: np.ndarray) -> np.ndarray:
        fields = np.concatenate([part.reshape(3, -1) for part in parts], axis=1)
        kernel, bias, last, last_bias = (weight.numpy() for weight in model.towers[side].weights)
        return model.gates[side].gate.numpy() * (np.maximum(fields @ kernel + bias, 0) @ last + last_bias)

    kernel, constant = (weight.numpy() for weight in model.history.weights)
    user = request.sum(axis=1) + history @ kernel + constant + residual("user", request, mean)
    scale, bias = model.similarity.scale.numpy(), model.similarity.bias.numpy()
    expected = scale * (user * (item.sum(axis=1) + residual("item", item))).sum(axis=1) + bias
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-4)


def test_it_starts_as_the_similarity_of_the_item_with_the_mean_of_the_history() -> None:
    model = _model(residual=True, caches=_caches())
    model(row_batch())
    rows = np.random.default_rng(1).normal(size=model.embeddings.table.shape).astype(np.float32)
    first = model.embeddings.first_rows
    rows[first["users"] : first["users"] + SIZES["users"]] = 0
    model.embeddings.table.assign(rows)
    model.embeddings.number_vectors.assign(tf.zeros_like(model.embeddings.number_vectors))
    item = rows[first["items"] :]
    user = np.stack([(item[4] + item[6]) / 2, np.zeros(3, np.float32), item[1]])
    np.testing.assert_allclose(model(row_batch()).numpy(), (user * item[[2, 1, 6]]).sum(axis=1), rtol=1e-5)


def test_items_begin_with_a_bias_that_the_history_does_not_read() -> None:
    model = _model()
    model(row_batch())
    first, table = model.embeddings.first_rows, model.embeddings.table
    rows = np.random.default_rng(1).normal(size=table.shape).astype(np.float32)
    rows[: first["items"], 0] = 0
    table.assign(rows)
    model.embeddings.number_vectors.assign(tf.zeros_like(model.embeddings.number_vectors))
    values = np.array([0.0, 1.5, 2.5])
    model.initialize_item_bias("item", np.array([1, 2, 6]), values)
    item, user = rows[first["items"] :, 1:], rows[first["users"] :, 1:]
    history = np.stack([(item[4] + item[6]) / 2, np.zeros(2, np.float32), item[1]])
    expected = ((user[row_batch()["user"]] + history) * item[[2, 1, 6]]).sum(axis=1) + values[[1, 0, 2]]
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-4)


def test_a_model_without_history_scores_by_its_other_fields() -> None:
    inputs = [one for one in ROW if one.name != "history"]
    model = FISM(inputs, SIZES, embedding_dim=3)
    model(row_batch())
    rows = np.random.default_rng(1).normal(size=model.embeddings.table.shape).astype(np.float32)
    model.embeddings.table.assign(rows)
    sets = model.look_up(row_batch()).sets
    expected = (sets.request[:, 0] * tf.reduce_sum(sets.candidates[:, 0], axis=1)).numpy().sum(axis=1)
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-5)


def test_is_a_sound_model(tmp_path: Path) -> None:
    check_layer(lambda: _model(seed=4, residual=True), row_batch(), tmp_path, compiles=False)
