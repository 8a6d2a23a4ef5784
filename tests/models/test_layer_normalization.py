"""Layer normalization without the fused kernel of Keras' layer."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.layers.layer_normalization import LayerNormalization

KERAS = {"class_name": "LayerNormalization", "config": {"name": "norm"}}
"""Keras' layer, which nothing else may use."""


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(1).normal(3.0, 2.0, [2, 5, 8]).astype(np.float32)


def test_the_last_dimension_is_normalized_scaled_and_shifted(values: np.ndarray) -> None:
    layer = LayerNormalization()
    layer.build(values.shape)
    gamma, beta = np.linspace(0.5, 2.0, 8, dtype=np.float32), np.linspace(-1.0, 1.0, 8, dtype=np.float32)
    layer.set_weights([gamma, beta])
    mean, variance = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
    expected = gamma * (values - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(layer(values).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_weights_and_names_are_those_of_keras(values: np.ndarray) -> None:
    ours, theirs = LayerNormalization(name="norm"), keras.layers.deserialize(KERAS)
    ours(values), theirs(values)
    assert [weight.name for weight in ours.weights] == [weight.name for weight in theirs.weights]
    np.testing.assert_allclose(ours(values).numpy(), theirs(values).numpy(), rtol=1e-5, atol=1e-5)


def test_half_precision_is_computed_in_float32(values: np.ndarray) -> None:
    layer = LayerNormalization(dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
    answer = layer(tf.cast(1000.0 + values, tf.bfloat16))
    assert answer.dtype == tf.bfloat16 and layer.gamma.dtype == tf.float32
    rounded = tf.cast(tf.cast(1000.0 + values, tf.bfloat16), tf.float32).numpy()
    expected = (rounded - rounded.mean(-1, keepdims=True)) / np.sqrt(rounded.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(tf.cast(answer, tf.float32).numpy(), expected, rtol=0.01, atol=0.01)


def test_no_fused_batch_norm_is_in_the_graph(values: np.ndarray) -> None:
    # Calls of different sizes at the same time would end the process.
    layer = LayerNormalization()
    layer.build(values.shape)
    graph = tf.function(layer.__call__).get_concrete_function(tf.TensorSpec([None, None, 8])).graph
    operations = {operation.type for operation in graph.get_operations()}
    assert "Rsqrt" in operations and not any("FusedBatchNorm" in name for name in operations)


def test_gradients_are_those_of_the_formula(values: np.ndarray) -> None:
    gamma, beta = np.linspace(0.5, 2.0, 8), np.linspace(-1.0, 1.0, 8)
    weights = np.random.default_rng(2).normal(size=values.shape)
    layer = LayerNormalization(dtype="float64")
    layer.build(values.shape)
    layer.set_weights([gamma, beta])
    x = tf.constant(values, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(weights * layer(x))
    to_values, to_gamma, to_beta = (one.numpy() for one in tape.gradient(loss, [x, layer.gamma, layer.beta]))

    def loss_of(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> float:
        standard = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
        return float((weights * (gamma * standard + beta)).sum())

    step, at = 1e-6, (np.asarray(values, float), gamma, beta)
    for position, (gradient, index) in enumerate(((to_values, (1, 2, 3)), (to_gamma, (5,)), (to_beta, (0,)))):
        above, below = ([value.copy() for value in at] for _ in range(2))
        above[position][index] += step
        below[position][index] -= step
        assert gradient[index] == pytest.approx((loss_of(*above) - loss_of(*below)) / (2 * step), rel=1e-4, abs=1e-6)
