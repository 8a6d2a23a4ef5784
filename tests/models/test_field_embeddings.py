from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers.field_embeddings import FieldEmbeddings
from models.training.optimizers import LazyAdagrad, LazyAdam, LazyFtrl
from tests.helpers.layer_check import check_layer
from transforms.features import ModelInput

_SIZES = {"items": 7, "users": 5}
_USER = ModelInput(name="user", vocabulary="users", shape="scalar", entity="user")
_ITEM = ModelInput(name="item", vocabulary="items", shape="scalar", entity="item")
_HISTORY = ModelInput(name="history", vocabulary="items", shape="ragged", entity="user")
_PRICE = ModelInput(name="price", vocabulary=None, shape="scalar", entity="item")
_AGES = ModelInput(name="ages", vocabulary=None, shape="ragged", entity="user")
_CANDIDATE = ModelInput(name="item", vocabulary="items", shape="candidates", entity="item")
_CANDIDATE_PRICE = ModelInput(name="price", vocabulary=None, shape="candidates", entity="item")
_ROW = (_USER, _ITEM, _HISTORY, _PRICE, _AGES)
_REQUEST = (_USER, _CANDIDATE, _HISTORY, _CANDIDATE_PRICE)


def _row_batch() -> dict[str, Any]:
    return {
        "user": tf.constant([1, 0, 4], tf.int64),
        "item": tf.constant([2, 2, 6], tf.int64),
        "history": tf.ragged.constant([[2, 0, 3], [], [0]], dtype=tf.int64),
        "price": tf.constant([0.5, -2.0, 0.0]),
        "ages": tf.ragged.constant([[1.0, 3.0], [4.0], []], dtype=tf.float32),
        "label": tf.constant([1.0, 0.0, 1.0]),
    }


def _request_batch() -> dict[str, Any]:
    return {
        "user": tf.constant([1, 3], tf.int64),
        "item": tf.constant([[2, 5, 0], [1, 1, 6]], tf.int64),
        "history": tf.ragged.constant([[4, 6], []], dtype=tf.int64),
        "price": tf.constant([[1.0, 2.0, 0.0], [-1.0, 0.5, 3.0]]),
    }


def _layer(inputs: tuple[ModelInput, ...], batch: dict[str, Any], **options: Any) -> FieldEmbeddings:
    """A layer whose every weight is a distinct number, but row 0, which is zeros."""
    layer = FieldEmbeddings(inputs, _SIZES, embedding_dim=2, **options)
    layer(batch)
    for index, weight in enumerate(layer.weights):
        weight.assign(100.0 * (index + 1) + np.arange(np.prod(weight.shape)).reshape(weight.shape))
    if layer.table is not None:
        layer.table.assign(tf.concat([tf.zeros([1, layer.row_width]), layer.table[1:]], axis=0))
    return layer


@pytest.mark.parametrize("training", [False, True])
def test_rows_hold_each_field_as_computed_by_hand(training: bool) -> None:
    layer = _layer(_ROW, _row_batch())
    users, items = layer.rows("users").numpy(), layer.rows("items").numpy()
    price, ages = layer.number_vectors.numpy()
    expected = {
        "user": [users[1], 0 * users[0], users[4]],
        "item": [items[2], items[2], items[6]],
        "history": [(items[2] + items[3]) / 2, 0 * items[0], 0 * items[0]],
        "price": [0.5 * price, -2 * price, 0 * price],
        "ages": [2 * ages, 4 * ages, 0 * ages],
    }
    embeddings, linear = layer(_row_batch(), training=training)
    assert sorted(layer.field_names) == sorted(expected)
    for axis, name in enumerate(layer.field_names):
        rows = np.array(expected[name])
        np.testing.assert_allclose(embeddings[:, axis].numpy(), rows[:, :2], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(linear[:, axis].numpy(), rows[:, 2], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_requests_repeat_what_candidates_share(training: bool) -> None:
    layer, batch = _layer(_REQUEST, _request_batch()), _request_batch()
    users, items = layer.rows("users").numpy(), layer.rows("items").numpy()
    (price,) = layer.number_vectors.numpy()
    embeddings, linear = layer(batch, training=training)
    assert embeddings.shape == (2, 3, 4, 2) and linear.shape == (2, 3, 4)
    ids, prices, zero = batch["item"].numpy(), batch["price"].numpy(), np.zeros(3)
    for b in range(2):
        for m in range(3):
            expected = {
                "user": users[[1, 3][b]],
                "history": [(items[4] + items[6]) / 2, zero][b],
                "item": items[ids[b, m]] if ids[b, m] else zero,
                "price": prices[b, m] * price,
            }
            for axis, name in enumerate(layer.field_names):
                np.testing.assert_allclose(embeddings[b, m, axis].numpy(), expected[name][:2], rtol=1e-6)
                np.testing.assert_allclose(linear[b, m, axis].numpy(), expected[name][2], rtol=1e-6)


def test_a_request_may_have_nothing_but_candidates() -> None:
    layer = _layer((_CANDIDATE,), _request_batch())
    embeddings, linear = layer(_request_batch())
    assert embeddings.shape == (2, 3, 1, 2) and linear.shape == (2, 3, 1)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=4), st.integers(1, 4), st.booleans())
def test_padding_a_history_changes_nothing(histories: list[list[int]], padding: int, training: bool) -> None:
    layer = _layer((_HISTORY,), {"history": tf.ragged.constant([[1]], dtype=tf.int64)})
    short = tf.ragged.constant(histories, dtype=tf.int64, ragged_rank=1)
    long = tf.ragged.constant([history + [0] * padding for history in histories], dtype=tf.int64, ragged_rank=1)
    for one, other in zip(layer({"history": short}, training=training), layer({"history": long}, training=training)):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_only_the_last_values_of_a_list_count() -> None:
    limited = _HISTORY.model_copy(update={"max_length": 2})
    batch = {"history": tf.ragged.constant([[1, 2, 3], [4]], dtype=tf.int64)}
    layer = _layer((limited,), batch)
    items = layer.rows("items").numpy()
    embeddings, _ = layer(batch)
    np.testing.assert_allclose(embeddings[:, 0].numpy(), [(items[2] + items[3])[:2] / 2, items[4][:2]])


def _gradients(layer: FieldEmbeddings, batch: dict[str, Any]) -> tuple[tf.IndexedSlices, list[tf.Tensor]]:
    with tf.GradientTape() as tape:
        embeddings, linear = layer(batch, training=True)
        loss = tf.reduce_sum(embeddings) + 10 * tf.reduce_sum(linear) + sum(layer.losses)
    return tape.gradient(loss, layer.table), layer.losses


def _vocabulary(layer: FieldEmbeddings, vocabulary: str, gradient: tf.IndexedSlices) -> np.ndarray:
    """The gradient of a vocabulary's rows, zeros included."""
    first = {"users": 0, "items": 5}[vocabulary]
    rows: np.ndarray = tf.convert_to_tensor(gradient).numpy()[first : first + _SIZES[vocabulary]]
    return rows


def test_gradient_has_one_row_a_distinct_id_and_none_for_id_0() -> None:
    layer = _layer(_ROW, _row_batch())
    gradient, _ = _gradients(layer, _row_batch())
    assert isinstance(gradient, tf.IndexedSlices)
    found = dict(zip(gradient.indices.numpy().tolist(), gradient.values.numpy().tolist(), strict=True))
    # Users 1 and 4; then items, from row 5. Item 2: twice alone, and half of the first history; 3: the other half.
    once = [1.0, 1.0, 10.0]
    assert found == {0: [0.0, 0.0, 0.0], 1: once, 4: once, 5 + 2: [2.5, 2.5, 25.0], 5 + 3: [0.5, 0.5, 5.0], 5 + 6: once}


@pytest.mark.parametrize("optimizer", [LazyAdam(0.1), LazyAdagrad(0.1), LazyFtrl(0.1)])
def test_row_0_stays_zeros_in_training(optimizer: Any) -> None:
    layer = FieldEmbeddings(_ROW, _SIZES, embedding_dim=2, embedding_l2=0.02)
    for _ in range(3):
        with tf.GradientTape() as tape:
            embeddings, linear = layer(_row_batch(), training=True)
            loss = tf.reduce_sum(tf.square(embeddings - 1)) + tf.reduce_sum(linear) + sum(layer.losses)
        optimizer.minimize(loss, layer.trainable_variables, tape=tape)
    table = layer.table.numpy()
    assert not table[0].any() and table[[1, 4, 7, 8, 11]].all()


def test_l2_counts_each_looked_up_row_once() -> None:
    layer = _layer(_ROW, _row_batch(), embedding_l2=0.02)
    plain, _ = _gradients(_layer(_ROW, _row_batch()), _row_batch())
    gradient, losses = _gradients(layer, _row_batch())
    users, items = layer.rows("users").numpy(), layer.rows("items").numpy()
    rows = [users[[1, 4]], items[[2, 3, 6]], layer.number_vectors.numpy()]
    np.testing.assert_allclose(sum(losses).numpy(), 0.01 * sum((row**2).sum() for row in rows), rtol=1e-6)
    added = _vocabulary(layer, "items", gradient) - _vocabulary(layer, "items", plain)
    np.testing.assert_allclose(added[[2, 3, 6]], 0.02 * items[[2, 3, 6]], rtol=1e-4)
    assert not added[[0, 1, 4, 5]].any()


def test_l2_of_the_whole_table_counts_every_row() -> None:
    layer = _layer(_ROW, _row_batch(), embedding_l2=0.02, l2_scope="table")
    plain, _ = _gradients(_layer(_ROW, _row_batch()), _row_batch())
    gradient, losses = _gradients(layer, _row_batch())
    table, numbers = layer.table.numpy(), layer.number_vectors.numpy()
    np.testing.assert_allclose(sum(losses).numpy(), 0.01 * ((table**2).sum() + (numbers**2).sum()), rtol=1e-6)
    added = tf.convert_to_tensor(gradient).numpy() - tf.convert_to_tensor(plain).numpy()
    np.testing.assert_allclose(added, 0.02 * table, rtol=1e-4)


def test_an_id_above_its_vocabulary_does_not_read_the_next_one() -> None:
    layer = _layer(_ROW, _row_batch())
    batch = {**_row_batch(), "user": tf.constant([1, 5, 4], tf.int64)}  # 5 users: ids 0 to 4
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected 0 to 4, the ids of its vocabulary"):
        layer(batch)


def test_l2_is_no_loss_outside_training() -> None:
    layer = _layer(_ROW, _row_batch(), embedding_l2=0.02)
    layer(_row_batch(), training=False)
    assert layer.losses == []


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bad", [-1, 5])
def test_ids_outside_the_table_raise(bad: int, training: bool) -> None:
    layer = FieldEmbeddings((_USER,), _SIZES, embedding_dim=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected 0 to 4, the ids of its vocabulary"):
        layer({"user": tf.constant([1, bad], tf.int64)}, training=training)


def test_starts_small_with_zero_linear_weights_and_a_zero_row_0() -> None:
    layer = FieldEmbeddings((_USER, _PRICE), {"users": 4001}, embedding_dim=8)
    layer(_row_batch())
    table = layer.rows("users").numpy()
    assert not table[0].any() and not table[:, -1].any()
    np.testing.assert_allclose(table[1:, :-1].std(), 1e-4, rtol=0.05)


def test_a_further_vocabulary_leaves_the_start_of_the_others_as_it_was() -> None:
    alone, both = (FieldEmbeddings(inputs, _SIZES, 2) for inputs in ((_ITEM,), (_USER, _ITEM)))
    alone(_row_batch())
    both(_row_batch())
    np.testing.assert_array_equal(alone.rows("items").numpy(), both.rows("items").numpy())
    assert (both.rows("items").numpy()[1:5, 0] != both.rows("users").numpy()[1:5, 0]).all()


def test_without_linear_weights_a_table_has_only_the_embeddings() -> None:
    layer = FieldEmbeddings(_ROW, _SIZES, embedding_dim=3, linear=False)
    for training in (False, True):
        embeddings, linear = layer(_row_batch(), training=training)
        assert embeddings.shape == (3, 5, 3) and linear is None
    assert layer.rows("items").shape == (7, 3)


@pytest.mark.parametrize("training", [True, False])
def test_an_id_outside_its_vocabulary_is_told_with_its_feature(training: bool) -> None:
    layer = FieldEmbeddings((_USER, _HISTORY), _SIZES, 2)
    batch = {"user": tf.constant([1], tf.int64), "history": tf.ragged.constant([[1, 99]], tf.int64, ragged_rank=1)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="'history' has the id 99; expected 0 to"):
        layer(batch, training=training)


def test_a_missing_feature_is_named() -> None:
    with pytest.raises(ValueError, match="no feature 'user'; received item"):
        FieldEmbeddings((_USER,), _SIZES, 2)({"item": tf.constant([1], tf.int64)})


def test_a_feature_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match="'history' is dense .* expected ragged"):
        FieldEmbeddings((_HISTORY,), _SIZES, 2)({"history": tf.constant([1], tf.int64)})
    with pytest.raises(ValueError, match="'user' is dense of shape .* expected scalar"):
        FieldEmbeddings((_USER,), _SIZES, 2)({"user": tf.constant([[1]], tf.int64)})


def test_table_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="vocabulary 'users' has no table size; received sizes of items"):
        FieldEmbeddings((_USER,), {"items": 3}, 2)
    with pytest.raises(ValueError, match="expected at least 2"):
        FieldEmbeddings((_USER,), {"users": 1}, 2)
    with pytest.raises(ValueError, match="at least one feature"):
        FieldEmbeddings((), {}, 2)


@pytest.mark.parametrize(("inputs", "batch"), [(_ROW, _row_batch()), (_REQUEST, _request_batch())])
def test_is_a_sound_layer(inputs: tuple[ModelInput, ...], batch: dict[str, Any], tmp_path: Path) -> None:
    check_layer(lambda: FieldEmbeddings(inputs, _SIZES, embedding_dim=2, embedding_l2=1e-3), batch, tmp_path)
