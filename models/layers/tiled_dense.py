"""A dense layer on what is an element's own beside what all elements of a set share."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.seeds import derived_seed

_CUT = 0.87962566103423978
"""Standard deviation of a normal distribution cut at two of its own."""


@keras.utils.register_keras_serializable(package="consort")
class TiledDense(keras.layers.Layer):
    """y_i = x_i K + u L + b: a dense layer on [x_i ; u], in which u is multiplied once a set, and never tiled.

    Args:
      units: width of the output; no activation.
      seed: of the weights (Glorot normal of the whole [K ; L]; the bias starts at 0).

    Call arguments:
      own: `[B, M, X]`.
      shared: `[B, U]`; U may be 0.

    Output shape: `[B, M, units]`.
    """

    def __init__(self, units: int, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.seed = units, seed

    def build(self, input_shape: Any) -> None:
        own, shared = (tf.TensorShape(shape)[-1] for shape in input_shape)
        stddev = (2 / (own + shared + self.units)) ** 0.5 / _CUT
        self._own = self._kernel("own", own, stddev)
        # A product over no column, fused with a sum, ends the process in oneDNN.
        self._shared = self._kernel("shared", shared, stddev) if shared else None
        self._bias = self.add_weight(name="bias", shape=[self.units], initializer="zeros")
        super().build(input_shape)

    def _kernel(self, name: str, width: int, stddev: float) -> tf.Variable:
        start = keras.initializers.TruncatedNormal(stddev=stddev, seed=derived_seed(self.seed, name))
        return self.add_weight(name=name, shape=[width, self.units], initializer=start)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        own, shared = inputs
        # Not `own @ kernel`, whose gradient makes a kernel a set, and sums them.
        outputs = tf.tensordot(own, self._own, 1)
        if self._shared is None:
            return outputs + self._bias
        return outputs + (shared @ self._shared + self._bias)[:, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "seed": self.seed}
