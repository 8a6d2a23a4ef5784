"""CAS: a dense layer applied twice, its input weighed between by what it gave."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers.dense import CycleAdaptiveDense
from tests.helpers.layer_check import check_layer

_INPUTS = tf.constant([[1.0, 2.0], [-1.0, 0.5]])


def _layer(activation: str | None) -> CycleAdaptiveDense:
    layer = CycleAdaptiveDense(3, activation)
    layer(_INPUTS)
    kernel = np.array([[1.0, 0.0, 2.0], [0.5, 1.0, -1.0]])
    back = np.array([[0.0, 1.0], [0.5, 0.0], [1.0, -1.0]])
    layer.set_weights([kernel, np.array([0.1, 0.0, -0.1]), back, np.array([0.0, 0.2])])
    return layer


def test_equations_of_cas() -> None:
    # By hand, for x = [1, 2] and no activation: z = [1 + 1 + .1, 2, 2 - 2 - .1] = [2.1, 2, -.1];
    # R z + r = [.5 * 2 - .1, 2.1 + .1 + .2] = [.9, 2.4]; e = [.710950, .916827].
    weighed = np.array([1 * 2 * 0.71094950, 2 * 2 * 0.91682730])
    expected = [weighed[0] + 0.5 * weighed[1] + 0.1, weighed[1], 2 * weighed[0] - weighed[1] - 0.1]
    np.testing.assert_allclose(_layer(None)(_INPUTS).numpy()[0], expected, rtol=1e-6)


def test_the_activation_is_inside_both_passes() -> None:
    # For x = [-1, .5]: W x + b = [-.65, .5, -2.6], of which ReLU leaves [0, .5, 0]; R z + r = [.25, .2].
    weighed = np.array([-1 * 2, 0.5 * 2]) / (1 + np.exp(-np.array([0.25, 0.2])))
    raw = np.array([weighed[0] + 0.5 * weighed[1] + 0.1, weighed[1], 2 * weighed[0] - weighed[1] - 0.1])
    np.testing.assert_allclose(_layer("relu")(_INPUTS).numpy()[1], np.maximum(raw, 0), rtol=1e-6)


@pytest.mark.parametrize("activation", ["relu", None])
def test_at_first_it_is_the_dense_layer(activation: str | None) -> None:
    layer = CycleAdaptiveDense(3, activation, seed=5)
    outputs = layer(_INPUTS).numpy()
    kernel, bias = layer.get_weights()[:2]
    plain = _INPUTS.numpy() @ kernel + bias
    np.testing.assert_allclose(outputs, np.maximum(plain, 0) if activation else plain, rtol=1e-6)


def test_both_passes_share_one_kernel_and_the_way_back_learns_from_the_first_step() -> None:
    layer = CycleAdaptiveDense(3, None)
    layer(_INPUTS)
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2, 3), (3,), (3, 2), (2,)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(_INPUTS)))
    for gradient in tape.gradient(loss, layer.trainable_weights):
        assert tf.reduce_any(gradient != 0)


def test_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: CycleAdaptiveDense(4, "tanh", seed=3), tf.random.stateless_normal([5, 6], [1, 2]), tmp_path)


def test_no_units_are_refused() -> None:
    with pytest.raises(ValueError, match="units is 0; expected a whole number of at least 1"):
        CycleAdaptiveDense(0)
