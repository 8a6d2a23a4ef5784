from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.layers.recency import Recency, RecencyWeightedMean
from tests.helpers.layer_check import check_layer

_HISTORY = tf.random.stateless_normal([2, 4, 3], [1, 2])
_MASK = tf.constant([[True, True, True, False], [False, True, False, True]])


def _ages(max_age: int, mask: Any) -> np.ndarray:
    """What is added, told by vectors that hold their own age."""
    layer = Recency(max_age)
    zeros = tf.zeros([*mask.shape, 1])
    layer(zeros, mask)
    layer.set_weights([np.arange(max_age + 1.0)[:, None]])
    ages: np.ndarray = layer(zeros, mask).numpy()[..., 0]
    return ages


def test_the_last_real_element_is_0_events_ago_wherever_padding_stands() -> None:
    ages = _ages(9, _MASK)
    np.testing.assert_array_equal(ages[_MASK], [2, 1, 0, 1, 0])


def test_padding_at_the_end_makes_nobody_older() -> None:
    longer = tf.concat([_MASK, tf.zeros([2, 5], tf.bool)], axis=1)
    np.testing.assert_array_equal(_ages(9, longer)[:, :4][_MASK], _ages(9, _MASK)[_MASK])


def test_elements_beyond_the_greatest_age_share_its_vector() -> None:
    np.testing.assert_array_equal(_ages(2, tf.ones([1, 5], tf.bool)), [[2, 2, 2, 1, 0]])


def test_at_first_the_order_says_nothing() -> None:
    np.testing.assert_array_equal(Recency(5)(_HISTORY, _MASK), _HISTORY)


def test_an_empty_history_stays_empty() -> None:
    assert Recency(5)(tf.zeros([2, 0, 3]), tf.zeros([2, 0], tf.bool)).shape == (2, 0, 3)


def test_a_mean_weighs_elements_by_their_places_before_the_last_real_one() -> None:
    layer = RecencyWeightedMean(2)
    layer(_HISTORY, _MASK)
    layer.set_weights([np.log([1.0, 2.0, 4.0])])
    x = _HISTORY.numpy()
    # The third element of the second history is not real, and takes a place all the same.
    expected = np.stack([(4 * x[0, 0] + 2 * x[0, 1] + x[0, 2]) / 7, (4 * x[1, 1] + x[1, 3]) / 5])
    np.testing.assert_allclose(layer(_HISTORY, _MASK), expected, rtol=1e-5)
    older = layer(tf.constant([[[1.0], [0.0], [0.0], [0.0]]]))
    np.testing.assert_allclose(older, [[4 / 11]], rtol=1e-5)


def test_a_mean_starts_with_equal_weights_and_is_0_without_elements() -> None:
    mask = tf.constant([[True, True, True, False], [False, False, False, False]])
    expected = np.stack([_HISTORY[0, :3].numpy().mean(axis=0), np.zeros(3)])
    np.testing.assert_allclose(RecencyWeightedMean(5)(_HISTORY, mask), expected, rtol=1e-5, atol=1e-7)
    assert RecencyWeightedMean(5)(tf.zeros([2, 0, 3]), tf.zeros([2, 0], tf.bool)).numpy().tolist() == [[0.0] * 3] * 2


class _Aged(keras.layers.Layer):
    """The layer as one of a single argument."""

    def __init__(self, max_age: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.recency = Recency(max_age)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return self.recency(*inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_age": self.recency.max_age}


def test_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: _Aged(3, name="aged"), (_HISTORY, _MASK), tmp_path)


def test_config_gives_the_arguments_back() -> None:
    for layer in (Recency, RecencyWeightedMean):
        assert layer.from_config(layer(7).get_config()).max_age == 7
