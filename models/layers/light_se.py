"""Weights of fields by one softmax over them."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable(package="consort")
class LightSE(keras.layers.Layer):
    """z_f = mean_k e_f,k;  a = softmax(W z);  output_f = e_f + a_f e_f.

    W is F x F without a bias. Unlike `SENET` it has no bottleneck, and keeps each field by a residual.

    Reference: Li et al., "IntTower: the Next Generation of Two-Tower Model for Pre-Ranking System" (CIKM
    2022, arXiv 2210.09890), the Light-SE block.

    Args:
      seed: of W (Glorot normal).

    Input shape: `[..., F, D]`.

    Output shape: the same.
    """

    def __init__(self, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        fields = tf.TensorShape(input_shape)[-2]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self._kernel = self.add_weight(name="kernel", shape=[fields, fields], initializer=start)
        super().build(input_shape)

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        weights = tf.nn.softmax(tf.tensordot(tf.reduce_mean(embeddings, axis=-1), self._kernel, axes=1))
        return embeddings * (1 + weights[..., tf.newaxis])

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
