from pathlib import Path

import numpy as np
import tensorflow as tf

from models.layers.dense import TiledDense
from tests.helpers.layer_check import check_layer

_OWN = tf.random.stateless_normal([3, 4, 5], [1, 2])
_SHARED = tf.random.stateless_normal([3, 2], [3, 4])


def test_is_a_dense_layer_on_what_is_tiled() -> None:
    layer = TiledDense(6, seed=3)
    layer((_OWN, _SHARED))
    layer.set_weights([np.random.default_rng(k).normal(size=weight.shape) for k, weight in enumerate(layer.weights)])
    own, shared, bias = layer.get_weights()
    tiled = np.concatenate([_OWN.numpy(), np.repeat(_SHARED.numpy()[:, None], 4, axis=1)], axis=2)
    expected = tiled @ np.concatenate([own, shared]) + bias
    np.testing.assert_allclose(layer((_OWN, _SHARED)), expected, rtol=1e-5, atol=1e-6)


def test_by_hand() -> None:
    layer = TiledDense(1)
    own, shared = tf.constant([[[1.0], [2.0]]]), tf.constant([[10.0]])
    layer((own, shared))
    layer.set_weights([np.array([[3.0]]), np.array([[0.5]]), np.array([1.0])])
    np.testing.assert_array_equal(layer((own, shared)), [[[9.0], [12.0]]])


def test_starts_with_the_spread_of_the_whole_layer_and_different_kernels() -> None:
    layer = TiledDense(100, seed=3)
    layer((tf.zeros([1, 1, 200]), tf.zeros([1, 200])))
    own, shared, bias = layer.get_weights()
    # Glorot normal of [400, 100], cut at two deviations.
    for kernel in (own, shared):
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 500), rtol=0.02)
    assert (own != shared).all() and not bias.any()


def test_nothing_shared_is_a_dense_layer() -> None:
    layer = TiledDense(2)
    found = layer((_OWN, tf.zeros([3, 0])))
    np.testing.assert_allclose(found, _OWN.numpy() @ layer.get_weights()[0], rtol=1e-5, atol=1e-6)


def test_no_gradient_is_as_large_as_a_kernel_a_set() -> None:
    layer = TiledDense(30)
    layer((tf.zeros([1, 1, 40]), tf.zeros([1, 2])))

    @tf.function(autograph=False)
    def step(own: tf.Tensor, shared: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer((own, shared)) ** 2)
        gradients: list[tf.Tensor] = tape.gradient(loss, layer.trainable_weights)
        return gradients

    graph = step.get_concrete_function(tf.TensorSpec([50, 3, 40]), tf.TensorSpec([50, 2])).graph
    shapes = [tensor.shape for operation in graph.get_operations() for tensor in operation.outputs]
    assert max(shape.num_elements() or 0 for shape in shapes) < 50 * 40 * 30


def test_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: TiledDense(3, seed=4), (_OWN, _SHARED), tmp_path)


def test_without_anything_shared_a_compiled_step_is_that_of_a_dense_layer() -> None:
    layer = TiledDense(2, seed=3)

    @tf.function(autograph=False)
    def activated(own: tf.Tensor, shared: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(layer((own, shared)))

    found = activated(_OWN, tf.zeros([3, 0]))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(found, np.maximum(_OWN.numpy() @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
