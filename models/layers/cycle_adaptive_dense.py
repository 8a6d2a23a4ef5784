"""A dense layer that reads its input twice, the second time weighed by what the first reading gave."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_count
from models.layers.dense import Dense


@keras.utils.register_keras_serializable(package="consort")
class CycleAdaptiveDense(keras.layers.Layer):
    """CAS, the cycle-adaptive structure: one dense layer FC, applied twice.

      z = FC(x)
      e = sigmoid(R z + r),  x' = x * 2 e
      output = FC(x')

    FC(x) = activation(W x + b), with the same W and b both times. R and r start at 0, so that at first
    2 e = 1 and the layer is FC itself.

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv
    2604.19269), the cycle-adaptive structure. That FC has the activation inside, and how R starts, is not published.

    Args:
      units: width of the output.
      activation: of FC, a Keras name; None: linear.
      seed: of W (Glorot normal; b starts at 0).

    Input shape: `[..., X]`.

    Output shape: `[..., units]`.

    Raises:
      ValueError: `units` is less than 1.
    """

    def __init__(self, units: int, activation: str | None = "relu", seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.activation, self.seed = checked_count("units", units), activation, seed
        self._activate = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        width = tf.TensorShape(input_shape)[-1]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self._kernel = self.add_weight(name="kernel", shape=[width, self.units], initializer=start)
        self._bias = self.add_weight(name="bias", shape=[self.units], initializer="zeros")
        self._back = self.add_weight(name="back_kernel", shape=[self.units, width], initializer="zeros")
        self._back_bias = self.add_weight(name="back_bias", shape=[width], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        weights = 2 * tf.sigmoid(tf.tensordot(self._dense(inputs), self._back, axes=1) + self._back_bias)
        return self._dense(inputs * weights)

    def _dense(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._activate(tf.tensordot(inputs, self._kernel, axes=1) + self._bias)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)[:-1].concatenate([self.units])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "activation": self.activation, "seed": self.seed}


def fully_connected(units: int, activation: str | None, seed: int, cycle_adaptive: bool) -> keras.layers.Layer:
    """A tower's layer, Glorot normal with biases 0: `CycleAdaptiveDense`, or the plain one that it begins as."""
    if cycle_adaptive:
        return CycleAdaptiveDense(units, activation, seed)
    return Dense(units, activation=activation, kernel_initializer=keras.initializers.GlorotNormal(seed=seed))
