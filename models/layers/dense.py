"""Dense layers and dropout."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count, derived_seed
from models.layers.replicas import replica_seed


@keras.utils.register_keras_serializable(package="consort")
class Dense(keras.layers.Dense):
    """activation(x W + b): Keras' layer, with the bias added by an ordinary sum.

    TensorFlow's `BiasAdd`, which Keras takes, has a gradient that runs on one thread, a tenth of a step of
    DeepFM on two cores. The products are fused with sum and activation all the same.

    Args, input shape, output shape: as of `tf_keras.layers.Dense`.
    """

    def call(self, inputs: Any) -> tf.Tensor:
        inputs = tf.cast(inputs, self.compute_dtype)
        outputs = tf.matmul(inputs, self.kernel) if inputs.shape.rank == 2 else self._each(inputs)
        if self.use_bias:
            outputs += self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def _each(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.tensordot(inputs, self.kernel, axes=1)
        return tf.ensure_shape(outputs, [*inputs.shape[:-1], self.units])


@keras.utils.register_keras_serializable(package="consort")
class ResumableDropout(keras.layers.Layer):
    """Sets a share of activations to zero in training, and scales the others by 1 / (1 - rate).

    What it drops is a function of the seed and of the number of training calls so far, which is a
    variable of the layer: restored from a checkpoint, it drops what the uninterrupted run would have.
    (Keras' own layer keeps its random state out of checkpoints.)

    Args:
      rate: share of activations to drop.
      seed: seed of the choice.

    Input shape: any.

    Output shape: the same.
    """

    def __init__(self, rate: float, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}; expected at least 0 and less than 1; give the share to drop")
        self.rate, self.seed = rate, seed

    def build(self, input_shape: Any) -> None:
        self.calls = self.add_weight(
            name="calls",
            shape=[],
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training or not self.rate:
            return inputs
        seed = tf.stack([tf.cast(replica_seed(self.seed), tf.int64), self.calls.read_value()])
        self.calls.assign_add(1)
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


_CUT = 0.87962566103423978
"""Standard deviation of a normal distribution cut at two of its own."""


@keras.utils.register_keras_serializable(package="consort")
class TiledDense(keras.layers.Layer):
    """y_i = x_i K + u L + b: a dense layer on [x_i ; u], in which u is multiplied once a set, and never tiled.

    Args:
      units: width of the output; no activation.
      seed: seed of the weights (Glorot normal of the whole [K ; L]; the bias starts at 0).

    Call arguments:
      own: `[B, M, X]`.
      shared: `[B, U]`; U may be 0.

    Output shape: `[B, M, units]`.
    """

    def __init__(self, units: int, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.seed = units, seed

    def build(self, input_shape: Any) -> None:
        own_width, shared_width = (tf.TensorShape(shape)[-1] for shape in input_shape)
        stddev = (2 / (own_width + shared_width + self.units)) ** 0.5 / _CUT
        self._own = self._kernel("own", own_width, stddev)
        # A product over no column, fused with a sum, ends the process in oneDNN.
        self._shared = self._kernel("shared", shared_width, stddev) if shared_width else None
        self._bias = self.add_weight(name="bias", shape=[self.units], initializer="zeros")
        super().build(input_shape)

    def _kernel(self, name: str, width: int, stddev: float) -> tf.Variable:
        start = keras.initializers.TruncatedNormal(stddev=stddev, seed=derived_seed(self.seed, name))
        return self.add_weight(name=name, shape=[width, self.units], initializer=start)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        candidates, shared = inputs
        # Not `own @ kernel`, whose gradient makes a kernel a set, and sums them.
        outputs = tf.tensordot(candidates, self._own, 1)
        if self._shared is None:
            return outputs + self._bias
        return outputs + (shared @ self._shared + self._bias)[:, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "seed": self.seed}


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
      activation: activation of FC, a Keras name; None: linear.
      seed: seed of W (Glorot normal; b starts at 0).

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
