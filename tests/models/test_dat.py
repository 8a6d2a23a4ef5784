"""DAT: the augmented vectors, the logit and the mimic loss in plain NumPy, and what each gradient reaches."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.clicks import Clicks
from models.layers.set_vectors import SetVectors
from models.retrieval.dat import DAT
from tests.helpers.backbones import backbone, moved
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch
from transforms.features import ModelInput

_SIDES = ("user", "item")
_SECOND_ID = ModelInput(name="shop", vocabulary="shops", shape="scalar", entity="item")


def _model(**options: Any) -> DAT:
    return backbone("dat", **options)


def _clicks(*label: float, weight: Any = None) -> Clicks:
    return Clicks(tf.constant(label), weight, row_batch())


def test_the_logit_equals_plain_numpy() -> None:
    model = moved(_model(), row_batch())
    vectors: SetVectors = model.look_up(row_batch()).sets
    history, mask = vectors.history.numpy(), vectors.history_mask.numpy()[..., None, None]
    mean = (history * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    # The user's only field, and the first of the item's two, are the ids.
    ids = {"user": vectors.request.numpy()[:, 0], "item": vectors.candidates.numpy()[:, 0, 0]}
    fields = {
        "user": [vectors.request.numpy().reshape(3, -1), mean.reshape(3, -1)],
        "item": [vectors.candidates.numpy().reshape(3, -1)],
    }
    outputs = {}
    for side in _SIDES:
        augmented = ids[side] @ model.augmenting[side].kernel.numpy()
        assert augmented.shape == (3, 4) and np.abs(augmented).max() > 0.1
        kernel, bias, last_kernel, last_bias = (weight.numpy() for weight in model.towers[side].weights)
        seen = np.concatenate([*fields[side], augmented], axis=1)
        outputs[side] = np.maximum(seen @ kernel + bias, 0) @ last_kernel + last_bias
    scale, shift = (weight.numpy() for weight in model.similarity.weights)
    expected = scale * (outputs["user"] * outputs["item"]).sum(axis=1) + shift
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("first", [True, False])
def test_an_id_is_found_wherever_it_stands(first: bool) -> None:
    inputs = (ROW[0], _SECOND_ID, *ROW[1:]) if first else (*ROW, _SECOND_ID)
    sizes = {**SIZES, "shops": 4}
    model = DAT(inputs, sizes, embedding_dim=3, hidden_units=(5, 4), user_feature="user", item_feature="item")
    batch = {**row_batch(), "shop": tf.constant([1, 2, 3], tf.int64)}
    moved(model, batch)
    of_items = model.embeddings.rows("items").numpy()[batch["item"].numpy()]
    _, found = model.side_outputs(model.look_up(batch).sets)
    np.testing.assert_allclose(found.numpy()[:, 0], of_items @ model.augmenting["item"].kernel.numpy(), rtol=1e-5)


def test_equal_ids_have_equal_augmented_vectors_and_missing_ones_zeros() -> None:
    model = moved(_model(inputs=REQUEST), request_batch())
    table = model.embeddings.table
    table.assign(tf.concat([tf.zeros([1, 3]), table[1:]], axis=0))  # As it stays in training: row 0 gets no gradient.
    user, item = (part.numpy() for part in model.side_outputs(model.look_up(request_batch()).sets))
    # Items are 2, 5; 1, 1; 6, 0; the last user's id is missing.
    np.testing.assert_allclose(item[1, 0], item[1, 1])
    assert np.abs(item[0, 0] - item[0, 1]).max() > 0.01 and not item[2, 1].any() and not user[2].any()
    again = model.side_outputs(model.look_up(request_batch(), training=True).sets)
    np.testing.assert_array_equal(again[0].numpy(), user)


def test_the_mimic_loss_by_hand() -> None:
    model = _model(lambda_user=0.25, lambda_item=2.0)
    random = np.random.default_rng(3)
    user, item, own_user, own_item = random.normal(size=(4, 3, 4))
    label, weight = (1.0, 0.0, 0.5), tf.constant([1.0, 1.0, 0.5])
    sides = [tf.constant(own_user), tf.constant(own_item[:, np.newaxis])]
    found = model.auxiliary_loss(tf.constant(user), tf.constant(item), sides, _clicks(*label, weight=weight))
    expected = 0.0
    for y, w, u, v, a_u, a_v in zip(label, (1, 1, 0.5), user, item, own_user, own_item, strict=True):
        expected += w * y * (0.25 * ((a_u - v) ** 2).mean() + 2.0 * ((a_v - u) ** 2).mean()) / 2.5
    assert float(found) == pytest.approx(expected, rel=1e-5)


def _reached(loss_of: Any, model: DAT) -> dict[str, bool]:
    """Which parts of a model a loss moves."""
    with tf.GradientTape(persistent=True) as tape:
        loss = loss_of()
    parts = {f"tower {side}": model.towers[side].weights for side in _SIDES}
    parts |= {f"augmented {side}": model.augmenting[side].weights for side in _SIDES}
    parts["table"] = [model.embeddings.table]
    found = {}
    for name, weights in parts.items():
        gradients = [gradient for gradient in tape.gradient(loss, weights) if gradient is not None]
        found[name] = any(tf.convert_to_tensor(gradient).numpy().any() for gradient in gradients)
    return found


@pytest.mark.parametrize("side", _SIDES)
def test_the_mimic_loss_trains_the_augmented_vectors_and_no_tower(side: str) -> None:
    other = "item" if side == "user" else "user"
    model = moved(_model(**{f"lambda_{other}": 0.0}), row_batch())

    def loss(*label: float) -> tf.Tensor:
        found = model.look_up(row_batch())
        user, item = model.both(found)
        return model.auxiliary_loss(user, item[:, 0], model.side_outputs(found.sets), _clicks(*label))

    nothing = {"tower user": False, "tower item": False, "augmented user": False, "augmented item": False}
    assert _reached(lambda: loss(1, 1, 0), model) == {**nothing, f"augmented {side}": True, "table": True}
    # Without a click there is nothing to mimic.
    assert not any(_reached(lambda: loss(0, 0, 0), model).values()) and float(loss(0, 0, 0)) == 0


def test_the_log_loss_trains_towers_and_augmented_vectors() -> None:
    model = moved(_model(hidden_units=(20, 4)), row_batch())
    assert all(_reached(lambda: tf.reduce_sum(model(row_batch()) ** 2), model).values())


def test_mimicking_brings_an_augmented_vector_to_the_mean_of_its_clicks() -> None:
    # As wide as the embeddings, a_u can be anything; with the towers held still it goes to the mean of v.
    model = moved(_model(embedding_dim=4, lambda_item=0.0), row_batch())
    user = tf.zeros([4, 4])
    item = tf.constant(np.random.default_rng(3).normal(size=(4, 4)), tf.float32)
    label = tf.constant([1.0, 1.0, 1.0, 0.0])
    id_vectors = tf.gather(tf.eye(4), [0, 0, 1, 1])
    kernel = model.augmenting["user"].kernel
    for _ in range(200):
        with tf.GradientTape() as tape:
            sides = [id_vectors @ kernel, tf.zeros([4, 4])]
            loss = model.auxiliary_loss(user, item, sides, Clicks(label, None, {}))
        kernel.assign_sub(8.0 * tape.gradient(loss, kernel))
    expected = [item.numpy()[:2].mean(axis=0), item.numpy()[2]]
    np.testing.assert_allclose(kernel.numpy()[:2], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"user_feature": "user_id"}, "user_feature is 'user_id'; expected an id among the request inputs: user;"),
        ({"item_feature": "price"}, "item_feature is 'price'; expected an id among the candidates inputs: item;"),
        ({"item_feature": "history"}, "item_feature is 'history'"),
        ({"user_feature": "item"}, "user_feature is 'item'"),
    ],
)
def test_what_is_no_id_of_its_side_is_refused(options: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _model(**options)
