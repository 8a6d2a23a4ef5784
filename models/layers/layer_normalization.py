"""Layer normalization of the last dimension, safe where several calls run at the same time.

Keras' layer computes it by `FusedBatchNormV3`, whose oneDNN kernel in TensorFlow 2.16 writes beyond its memory when
calls of different sizes run at the same time: the process ends ("free(): invalid next size"), a TensorFlow Serving,
too. What is here is composed of plain operations, which also takes half the time on CPUs.
"""

from typing import Any

import tensorflow as tf
import tf_keras as keras

EPSILON = 1e-3
"""Added to a variance, as Keras does."""


@tf.custom_gradient
def standardized(values: tf.Tensor) -> Any:
    """Returns values `[..., W]` less their mean, divided by their standard deviation, in float32."""
    centered = values - tf.reduce_mean(values, -1, keepdims=True)
    scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), -1, keepdims=True) + EPSILON)
    result = centered * scale

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        along = tf.reduce_mean(upstream * result, -1, keepdims=True)
        return (upstream - tf.reduce_mean(upstream, -1, keepdims=True) - result * along) * scale

    return result, gradient


@keras.utils.register_keras_serializable(package="consort")
class LayerNormalization(keras.layers.Layer):
    """`gamma standardized(x) + beta`, with the weights and the results of Keras' layer of this name."""

    def build(self, input_shape: Any) -> None:
        width = int(input_shape[-1])
        # In float32 also where the policy computes in bfloat16.
        self.gamma = self.add_weight("gamma", [width], initializer="ones", experimental_autocast=False)
        self.beta = self.add_weight("beta", [width], initializer="zeros", experimental_autocast=False)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalizes `[..., W]`."""
        normalized = standardized(tf.cast(inputs, self.dtype)) * self.gamma + self.beta
        return tf.cast(normalized, self.compute_dtype)
