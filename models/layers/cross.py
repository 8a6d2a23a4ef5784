"""A layer of the first cross network."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable(package="consort")
class CrossLayer(keras.layers.Layer):
    """Crosses the features of depth l once more with the first ones, by one vector of weights.

    x_{l+1} = x_0 (x_l^T w_l) + b_l + x_l

    Reference: Wang et al., "Deep & Cross Network for Ad Click Predictions" (ADKDD 2017), equation 3.

    Args:
      seed: of w (Glorot normal); b starts at 0.

    Input shape: the pair (x_0, x_l), each `[..., W]`.

    Output shape: `[..., W]`.
    """

    def __init__(self, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        width = tf.TensorShape(input_shape[0])[-1]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self.kernel = self.add_weight(name="kernel", shape=[width, 1], initializer=start)
        self.bias = self.add_weight(name="bias", shape=[width], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        first, current = inputs
        return first * tf.matmul(current, self.kernel) + self.bias + current

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
