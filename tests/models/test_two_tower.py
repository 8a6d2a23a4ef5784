from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.set_vectors import SetVectors
from models.preranking.two_tower import TwoTower
from models.registry import build_model
from tests.helpers.layer_check import check_layer, policy
from tests.helpers.set_batches import HISTORY, INPUTS, REAL, SIZES, moved, ordered, set_batch, with_more_padding

_NO_HISTORY = tuple(item for item in INPUTS if item.name not in HISTORY)


def _model(inputs: Any = INPUTS, **options: Any) -> TwoTower:
    return TwoTower(inputs, SIZES, **{"embedding_dim": 2, "hidden_units": (5, 3), **options})


def _made(inputs: Any = INPUTS, **options: Any) -> TwoTower:
    model: TwoTower = moved(_model(inputs, **options), set_batch())
    return model


def _tower(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    w1, b1, w2, b2 = weights
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def test_logits_equal_plain_numpy() -> None:
    model = _made()
    vectors = model.look_up(set_batch())
    request, history, offered = (part.numpy() for part in (vectors.request, vectors.history, vectors.candidates))
    for record, (n, m) in enumerate([(3, 4), (0, 2), (1, 3)]):
        mean = history[record, :n].sum(0) / max(n, 1)
        user = _tower(model.user_tower.get_weights(), np.concatenate([request[record].ravel(), mean.ravel()]))
        items = _tower(model.item_tower.get_weights(), offered[record, :m].reshape(m, 6))
        expected = items @ user + model.bias.get_weights()[0]
        np.testing.assert_allclose(model(set_batch())[record, :m], expected, rtol=1e-4, atol=1e-5)


def test_logit_by_hand() -> None:
    model = _model(hidden_units=(1,), embedding_dim=1, inputs=_NO_HISTORY)
    vectors = SetVectors(
        tf.constant([[[2.0], [3.0]]]),
        tf.zeros([1, 0, 0, 1]),
        tf.zeros([1, 0], tf.bool),
        tf.constant([[[[1.0], [0.0], [0.0]], [[0.0], [4.0], [1.0]]]]),
        tf.ones([1, 2], tf.bool),
    )
    model.interact(vectors)
    ones = [np.ones((2, 1)), np.array([0.5])], [np.array([[1.0], [2.0], [3.0]]), np.zeros(1)]
    for tower, weights in zip((model.user_tower, model.item_tower), ones):
        tower.set_weights(weights)
    model.bias.set_weights([np.array(-1.0)])
    # User 2 + 3 + 0.5; candidates 1 and 8 + 3.
    np.testing.assert_allclose(model.interact(vectors), [[5.5 * 1 - 1, 5.5 * 11 - 1]])


def test_candidates_do_not_see_each_other() -> None:
    model, batch = _made(), set_batch()
    other = {**batch, "item": tf.constant([[2, 1, 1, 1], [1, 2, 0, 0], [6, 5, 5, 0]], tf.int64)}
    np.testing.assert_allclose(model(other)[:, 0], model(batch)[:, 0], rtol=1e-5)
    order = [3, 1, 0, 2]
    np.testing.assert_allclose(model(ordered(batch, order)), model(batch).numpy()[:, order], rtol=1e-4, atol=1e-5)


def test_padding_batch_mates_and_the_order_of_the_history_change_nothing() -> None:
    model = _made()
    whole = model(set_batch()).numpy()
    wide = model(with_more_padding(set_batch())).numpy()
    np.testing.assert_allclose(wide[:, :4][REAL], whole[REAL], rtol=1e-4, atol=1e-5)
    turned = model(set_batch(((2, 4, 6), (), (1,)), ((1, 1, 2), (), (3,)))).numpy()
    np.testing.assert_allclose(turned, whole, rtol=1e-4, atol=1e-5)
    for k in range(3):
        alone = model(tf.nest.map_structure(lambda part, k=k: part[k : k + 1], set_batch()))
        np.testing.assert_allclose(alone[0], whole[k], rtol=1e-4, atol=1e-5)


def test_without_any_history_all_is_finite() -> None:
    assert np.isfinite(_made()(set_batch(((), (), ()), ((), (), ())))).all()
    assert np.isfinite(_made(_NO_HISTORY)(set_batch())).all()


def test_xla_compiles_the_head_for_static_shapes() -> None:
    model = _made()
    run = tf.function(lambda vectors: model.interact(vectors, training=False), jit_compile=True, autograph=False)
    found = run(model.look_up(set_batch()).resized(6, 5)).numpy()
    np.testing.assert_allclose(found[:, :4][REAL], model(set_batch()).numpy()[REAL], rtol=1e-4, atol=1e-5)


def test_logits_are_float32_in_mixed_precision() -> None:
    with policy("mixed_bfloat16"):
        assert _model()(set_batch()).dtype == tf.float32


# Under batch normalisation the tiny second moments of this batch are too coarse for bfloat16.
@pytest.mark.parametrize("options", [{"dropout": 0.2, "embedding_l2": 1e-3}])
def test_is_a_sound_model(options: dict[str, Any], tmp_path: Path) -> None:
    check_layer(lambda: _model(hidden_units=(16, 8), **options), set_batch(), tmp_path, compiles=False)


def test_batch_norm_trains() -> None:
    model = _model(batch_norm=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(set_batch(), training=True))
    assert all(gradient is not None for gradient in tape.gradient(loss, model.trainable_weights))


def test_config_gives_the_arguments_back_and_the_registry_knows_it() -> None:
    options: dict[str, Any] = {"dropout": 0.3, "batch_norm": True, "embedding_l2": 0.5, "seed": 9}
    config = build_model("two_tower", INPUTS, SIZES, **options).get_config()
    assert {key: config[key] for key in options} == options
    assert TwoTower.from_config(config).get_config() == config


def test_towers_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_units is empty; .* give the towers a last layer"):
        _model(hidden_units=())
