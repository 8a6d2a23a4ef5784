"""DSSM and what all towers share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.set_vectors import SetVectors
from models.layers.tower import Tower
from models.layers.tower_caches import TowerCaches
from models.retrieval.dssm import DSSM
from tests.helpers.layer_check import check_layer
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch
from transforms.features import ModelInput


def _model(inputs: tuple[ModelInput, ...] = ROW, **options: Any) -> DSSM:
    return DSSM(inputs, SIZES, embedding_dim=3, hidden_units=(5, 4), **options)


def _moved(model: DSSM, batch: dict[str, Any]) -> DSSM:
    model(batch)
    for index, weight in enumerate(model.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [7, index], stddev=0.3))
    return model


def test_the_logit_is_the_scaled_product_of_the_towers_by_hand() -> None:
    model = _moved(_model(), row_batch())
    vectors: SetVectors = model.look_up(row_batch()).sets
    history, mask = vectors.history.numpy(), vectors.history_mask.numpy()[..., None, None]
    mean = (history * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    user = np.concatenate([vectors.request.numpy().reshape(3, -1), mean.reshape(3, -1)], axis=1)
    item = vectors.candidates.numpy().reshape(3, -1)

    def tower(name: str, inputs: np.ndarray) -> np.ndarray:
        kernel, bias, last_kernel, last_bias = (w.numpy() for w in model.towers[name].weights)
        return np.maximum(inputs @ kernel + bias, 0) @ last_kernel + last_bias

    scale, shift = (weight.numpy() for weight in model.similarity.weights)
    expected = scale * (tower("user", user) * tower("item", item)).sum(axis=1) + shift
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-5)


def test_rows_are_requests_of_one_candidate() -> None:
    requests, rows = _moved(_model(REQUEST), request_batch()), _model(ROW)
    rows(row_batch())
    for target, source in zip(rows.weights, requests.weights, strict=True):
        target.assign(source)
    scores = requests(request_batch()).numpy()
    for m in range(2):
        np.testing.assert_allclose(scores[:, m], rows(row_batch(m)).numpy(), rtol=1e-5)


def test_an_item_moves_the_items_vector_alone_and_a_history_the_users() -> None:
    model = _moved(_model(), row_batch())

    def towers(batch: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        user, item = model.both(model.look_up(batch))
        return user.numpy(), item.numpy()

    user, item = towers(row_batch())
    other = {**row_batch(), "item": row_batch(1)["item"], "price": row_batch(1)["price"]}
    assert (towers(other)[0] == user).all() and (towers(other)[1] != item).any()
    read = {**row_batch(), "history": tf.ragged.constant([[1], [2], [3, 4]], dtype=tf.int64)}
    assert (towers(read)[0] != user).any() and (towers(read)[1] == item).all()


@pytest.mark.parametrize("cycle_adaptive", [(), ("user",), ("user", "item")])
def test_cas_takes_the_place_of_all_layers_but_the_first_and_is_plain_at_first(cycle_adaptive: tuple[str, ...]) -> None:
    plain, cycling = _model(), _model(cycle_adaptive=cycle_adaptive)
    np.testing.assert_allclose(cycling(row_batch()).numpy(), plain(row_batch()).numpy(), rtol=1e-5)
    # Of the second layer, from 5 to 4: R and r.
    more = len(cycle_adaptive) * (4 * 5 + 5)
    assert cycling.count_params() - plain.count_params() == more


def test_cas_may_take_the_first_layer_too() -> None:
    layer, plain = Tower((5, 4), True, include_first_layer=True), Tower((5, 4))
    inputs = tf.random.stateless_normal([2, 3], [1, 2])
    np.testing.assert_allclose(layer(inputs).numpy(), plain(inputs).numpy(), rtol=1e-5)
    assert layer.count_params() - plain.count_params() == (5 * 3 + 3) + (4 * 5 + 5)


@pytest.mark.parametrize(("inputs", "batch"), [(ROW, row_batch()), (REQUEST, request_batch())])
def test_is_a_sound_model(inputs: Any, batch: dict[str, Any], tmp_path: Path) -> None:
    check_layer(lambda: _model(inputs, cycle_adaptive=("item",), seed=4), batch, tmp_path, compiles=False)


def test_a_tower_is_a_sound_layer(tmp_path: Path) -> None:
    inputs = tf.random.stateless_normal([4, 2, 6], [1, 2])
    check_layer(lambda: Tower((5, 3), True, dropout=0.2, seed=3), inputs, tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hidden_units": ()}, "hidden_units is empty"),
        ({"batch_norm": True}, "batch_norm is True; expected False"),
        ({"cycle_adaptive": ("users",)}, "cycle_adaptive is 'users'; .* did you mean 'user'"),
        ({"inputs": ROW[:2]}, "no feature is of an item; received user, history"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    arguments: dict[str, Any] = {"inputs": ROW, "table_sizes": SIZES, **options}
    with pytest.raises(ValueError, match=told):
        DSSM(**arguments)


def _caches() -> TowerCaches:
    widths = {"user": 4, "item": 4}
    return TowerCaches({"user": 5, "item": 7}, widths, 3, features={"user": "user", "item": "item"})


def test_towers_with_caches_are_a_sound_model(tmp_path: Path) -> None:
    check_layer(lambda: _model(caches=_caches()), row_batch(), tmp_path, compiles=False)


@pytest.mark.parametrize("inputs", [ROW, REQUEST], ids=["rows", "requests"])
def test_the_towers_see_what_is_kept_of_their_ids(inputs: tuple[ModelInput, ...]) -> None:
    batch = row_batch() if inputs is ROW else request_batch()
    model = _moved(_model(inputs, caches=_caches()), batch)
    before = model(batch).numpy()
    # User 3 asks in the second record alone.
    assert model.caches is not None
    kept = np.zeros([5, 3], np.float32)
    kept[3] = 1
    model.caches.stores["cascade_user"].vectors.assign(kept)
    after = model(batch).numpy()
    changed = (after != before).reshape(3, -1).all(axis=1)
    assert changed.tolist() == [False, True, False] and model.extra_widths == {"user": 7, "item": 7}


def test_embeddings_are_the_towers_outputs_and_each_reads_its_own_side() -> None:
    model = _moved(_model(caches=_caches()), row_batch())
    user, item = model.both(model.look_up(row_batch()))
    others = {**row_batch(), "item": row_batch(1)["item"], "price": row_batch(1)["price"]}
    np.testing.assert_array_equal(model.user_embedding(others).numpy(), user.numpy())
    np.testing.assert_array_equal(model.item_embedding(row_batch()).numpy(), item[:, 0].numpy())
    scores = model.similarity((user, item)).numpy()[:, 0]
    np.testing.assert_allclose(model(row_batch()).numpy(), scores, rtol=1e-6)
