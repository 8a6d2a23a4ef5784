"""The towers with a transformer: what the user's sees of a history, in which order, and how it is pooled."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.retrieval.transformer_two_tower import TransformerTwoTower
from tests.helpers.backbones import backbone, moved
from tests.helpers.model_batches import ROW, row_batch
from transforms.features import ModelInput


def _model(**options: Any) -> TransformerTwoTower:
    return backbone("transformer_two_tower", **options)


def _with_history(*history: list[int]) -> dict[str, Any]:
    return {**row_batch(), "history": tf.ragged.constant(list(history), tf.int64, ragged_rank=1)}


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_the_logit_equals_plain_numpy_around_the_blocks(pool: str) -> None:
    batch = _with_history([4, 6, 2], [], [1, 3])
    model = moved(_model(pool=pool, max_positions=2), batch)
    table = model.embeddings.rows("items").numpy()
    kernel, bias = model.narrow.kernel.numpy(), model.narrow.bias.numpy()
    ages = model.positions.weights[0].numpy()
    assert ages.shape == (2, 4)
    pooled = np.zeros((3, 4), np.float32)
    for row, ids, back in ((0, [4, 6, 2], [1, 1, 0]), (2, [1, 3], [1, 0])):
        # The oldest of three is as far back as two positions tell.
        elements = (table[ids] @ kernel + bias + ages[back])[np.newaxis].astype(np.float32)
        for block in model.encoder:
            elements = block(tf.constant(elements), tf.ones([1, len(ids)], tf.bool)).numpy()
        pooled[row] = elements[0].mean(axis=0) if pool == "mean" else elements[0, -1]
    user = model.embeddings.rows("users").numpy()[batch["user"].numpy()]
    vectors = {"user": np.concatenate([user, pooled], axis=1)}
    vectors["item"] = model.look_up(batch).sets.candidates.numpy().reshape(3, -1)
    outputs = {}
    for side, seen in vectors.items():
        first, first_bias, last, last_bias = (weight.numpy() for weight in model.towers[side].weights)
        outputs[side] = np.maximum(seen @ first + first_bias, 0) @ last + last_bias
    scale, shift = (weight.numpy() for weight in model.similarity.weights)
    expected = scale * (outputs["user"] * outputs["item"]).sum(axis=1) + shift
    np.testing.assert_allclose(model(batch).numpy(), expected, rtol=1e-3, atol=1e-5)


def _users(model: TransformerTwoTower, *history: list[int]) -> np.ndarray:
    return model.user_embedding(_with_history(*history)).numpy()


def test_the_order_of_a_history_matters_once_positions_are_learned() -> None:
    model = _model(hidden_units=(20, 4))
    model(row_batch())
    for weight in model.trainable_weights:
        if weight is not model.positions.weights[0]:
            weight.assign_add(tf.random.stateless_normal(weight.shape, [5, len(weight.shape)], stddev=0.5))
    there, back = ([1, 2, 5], [3, 4], [6]), ([5, 2, 1], [4, 3], [6])
    np.testing.assert_allclose(_users(model, *there), _users(model, *back), rtol=1e-4, atol=1e-5)
    position = model.positions.weights[0]
    position.assign(tf.random.stateless_normal(position.shape, [3, 3]))
    apart = np.abs(_users(model, *there) - _users(model, *back)).max(axis=1)
    assert (apart[:2] > 1e-3).all() and apart[2] < 1e-5


def test_elements_beyond_the_last_position_are_read() -> None:
    model = moved(_model(max_positions=2, hidden_units=(20, 4)), row_batch())
    one, other = _users(model, [1, 2, 3, 4], [], []), _users(model, [6, 2, 3, 4], [], [])
    assert np.abs(one[0] - other[0]).max() > 1e-4
    np.testing.assert_allclose(one[1:], other[1:], rtol=1e-5)


def test_a_list_keeps_its_last_elements_up_to_the_inputs_length() -> None:
    inputs = tuple(
        ModelInput(**{**item.model_dump(), "max_length": 2}) if item.name == "history" else item for item in ROW
    )
    model = moved(_model(inputs=inputs, hidden_units=(20, 4)), row_batch())
    np.testing.assert_array_equal(_users(model, [1, 2, 3], [4], []), _users(model, [5, 2, 3], [4], []))


def test_without_a_history_there_is_no_transformer() -> None:
    inputs = tuple(item for item in ROW if item.name != "history")
    model = moved(_model(inputs=inputs), row_batch())
    assert list(model.encoder) == [] and model.narrow is None and model.positions is None
    users = model.embeddings.rows("users").numpy()[row_batch()["user"].numpy()]
    first, bias, last, last_bias = (weight.numpy() for weight in model.towers["user"].weights)
    expected = np.maximum(users @ first + bias, 0) @ last + last_bias
    np.testing.assert_allclose(model.user_embedding(row_batch()).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"blocks": 0}, "blocks is 0"),
        ({"heads": 3}, "width is 4, heads 3; expected a multiple of heads"),
        ({"heads": 0}, "heads is 0"),
        ({"width": 0}, "width is 0"),
        ({"max_positions": 0}, "max_positions is 0"),
        ({"pool": "first"}, "pool is 'first'; expected one of mean, last"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _model(**options)
