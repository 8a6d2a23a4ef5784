from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers.dense import ResumableDropout
from models.layers.mlp import MLP
from tests.helpers.layer_check import check_layer, policy

_INPUTS = tf.random.stateless_normal([6, 5], [1, 2])


def test_two_layers_by_hand() -> None:
    layer = MLP([2], output_units=1)
    layer(tf.zeros([1, 2]))
    hidden, hidden_bias, output, output_bias = layer.weights
    hidden.assign([[1.0, -1.0], [2.0, 1.0]])
    hidden_bias.assign([0.5, 0.0])
    output.assign([[2.0], [3.0]])
    output_bias.assign([-1.0])
    # (1, 2): hidden 1*1 + 2*2 + 0.5 = 5.5 and -1 + 2 = 1; output 2*5.5 + 3*1 - 1 = 13
    # (3, 0): hidden 3.5 and relu(-3) = 0; output 2*3.5 - 1 = 6, not cut although it is the last layer
    # (-1, 0): hidden 0 and 1; output 3 - 1 = 2. (0, 0): hidden 0.5 and 0; output 0
    outputs = layer(tf.constant([[1.0, 2.0], [3.0, 0.0], [-1.0, 0.0], [-0.5, 0.0]]))
    # (-0.5, 0): hidden 0 and 0.5; output 1.5 - 1 = 0.5
    assert outputs.numpy().ravel().tolist() == [13.0, 6.0, 2.0, 0.5]


def test_last_layer_may_be_negative() -> None:
    layer = MLP([], output_units=3)
    layer(_INPUTS)
    layer.weights[1].assign([-9.0, -9.0, -9.0])
    assert (layer(_INPUTS) < 0).numpy().all()


def test_batch_norm_stands_before_the_activation() -> None:
    layer = MLP([4], batch_norm=True)
    outputs = layer(_INPUTS, training=True).numpy()
    kernel = layer.weights[0].numpy()
    raw = _INPUTS.numpy() @ kernel
    normalised = (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-3)
    np.testing.assert_allclose(outputs, np.maximum(normalised, 0), atol=1e-5)


def test_dropout_drops_its_share_and_scales_the_rest() -> None:
    layer = ResumableDropout(0.25, seed=3)
    outputs = layer(tf.ones([200, 100]), training=True).numpy()
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / 0.75], rtol=1e-6)
    assert 0.24 < (outputs == 0).mean() < 0.26


def test_dropout_differs_from_call_to_call_and_continues_after_a_restore() -> None:
    layer, ones = ResumableDropout(0.5, seed=3), tf.ones([4, 8])
    calls = [layer(ones, training=True).numpy() for _ in range(3)]
    assert (calls[0] != calls[1]).any() and (calls[1] != calls[2]).any()
    resumed = ResumableDropout(0.5, seed=3)
    resumed(ones)
    resumed.calls.assign(2)
    np.testing.assert_array_equal(resumed(ones, training=True).numpy(), calls[2])


def test_dropout_does_nothing_outside_training() -> None:
    layer = ResumableDropout(0.5)
    np.testing.assert_array_equal(layer(_INPUTS, training=False).numpy(), _INPUTS.numpy())
    assert int(layer.calls) == 0


def test_layers_of_an_mlp_drop_independently() -> None:
    layer = MLP([64, 64], dropout=0.5, seed=1)
    seeds = [step.seed for step in layer._steps if isinstance(step, ResumableDropout)]
    assert len(set(seeds)) == 2


def test_last_layer_works_in_float32_under_mixed_precision() -> None:
    inputs = tf.constant([[1.0, 1 / 512]])  # Their sum is 1 in bfloat16.
    with policy("mixed_bfloat16"):
        layers = {units: MLP([2], activation="linear", output_units=units) for units in (None, 1)}
    for layer in layers.values():
        layer(inputs)
        layer.set_weights([np.eye(2), np.zeros(2), np.ones([2, 1]), np.zeros(1)][: len(layer.weights)])
    assert layers[None](inputs).dtype == tf.bfloat16
    assert layers[1](inputs).dtype == tf.float32
    assert layers[1](inputs).numpy().tolist() == [[1 + 1 / 512]]


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one layer"):
        MLP([])


def test_a_rate_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="less than 1"):
        ResumableDropout(1.0)


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"dropout": 0.3, "output_units": 2}])
def test_is_a_sound_layer(options: dict, tmp_path: Path) -> None:
    check_layer(lambda: MLP([4, 3], activation="tanh", seed=2, **options), _INPUTS, tmp_path)


def test_seed_decides_the_weights() -> None:
    layers = [MLP([4], seed=seed) for seed in (1, 1, 2)]
    first, same, other = (layer(_INPUTS).numpy() for layer in layers)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
