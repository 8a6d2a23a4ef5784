"""Our dense layer is Keras' own, but for how its bias is added."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.layers.dense import Dense
from tests.helpers.layer_check import check_layer


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)])
@pytest.mark.parametrize("options", [{"activation": "relu"}, {"use_bias": False}, {}])
def test_outputs_and_gradients_are_those_of_keras(shape: tuple[int, ...], options: dict[str, object]) -> None:
    inputs = tf.Variable(tf.random.stateless_normal(shape, [1, 2]))
    ours, theirs = Dense(4, **options), keras.layers.Dense(4, **options)
    found = []
    for layer in (ours, theirs):
        layer(inputs)
        for index, weight in enumerate(layer.weights):
            weight.assign(tf.random.stateless_normal(weight.shape, [7, index]))
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
            loss = tf.reduce_sum(tf.square(outputs))
        found.append([outputs, *tape.gradient(loss, [inputs, *layer.weights])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_no_bias_add_is_left_in_a_training_step() -> None:
    layer = Dense(4, activation="relu")
    layer.build([None, 3])

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def gradients(inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs))
        return tape.gradient(loss, layer.trainable_weights)

    kinds = {operation.type for operation in gradients.get_concrete_function().graph.get_operations()}
    assert "MatMul" in kinds and not kinds & {"BiasAdd", "BiasAddGrad"}


def test_is_a_sound_layer(tmp_path: Path) -> None:
    start = keras.initializers.GlorotNormal(seed=3)
    check_layer(
        lambda: Dense(3, activation="tanh", kernel_initializer=start),
        tf.random.stateless_normal([4, 5], [1, 2]),
        tmp_path,
    )
