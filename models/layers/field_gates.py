"""Weights of fields, each from its own vector."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable(package="consort")
class FieldGates(keras.layers.Layer):
    """s_i = sigmoid(w_i . e_i + b_i), v_i = s_i e_i.

    Reference: "COLD: Towards the Next Generation of Pre-Ranking System" (2020), section 3.2.

    Args:
      seed: of w (Glorot normal; b starts at 0).

    Input shape: `[..., F, D]`.

    Output shape: the same.
    """

    def __init__(self, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        fields, width = tf.TensorShape(input_shape)[-2:]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self._weights = self.add_weight(name="weights", shape=[fields, width], initializer=start)
        self._bias = self.add_weight(name="bias", shape=[fields], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        gates = tf.sigmoid(tf.reduce_sum(inputs * self._weights, axis=-1) + self._bias)
        return inputs * gates[..., tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
