"""A multi-layer perceptron."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.dense import Dense, ResumableDropout


class LayerChain(keras.layers.Layer):
    """A layer that hands its input through its `_steps`, which a subclass makes in `__init__`."""

    _steps: list[keras.layers.Layer]

    def build(self, input_shape: Any) -> None:
        shape = tf.TensorShape(input_shape)
        for step in self._steps:
            step.build(shape)
            shape = tf.TensorShape(step.compute_output_shape(shape))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None) -> tf.Tensor:
        return self._through(self._steps, inputs, training, real)

    def _through(
        self,
        steps: Sequence[keras.layers.Layer],
        inputs: tf.Tensor,
        training: bool | None = None,
        real: tf.Tensor | None = None,
    ) -> tf.Tensor:
        outputs = inputs
        for step in steps:
            if isinstance(step, keras.layers.BatchNormalization):
                outputs = step(outputs, training=training, mask=_counted(real, step) if training else None)
            elif isinstance(step, ResumableDropout):
                outputs = step(outputs, training=training)
            else:
                outputs = step(outputs)
        return outputs


def _counted(real: tf.Tensor | None, step: keras.layers.BatchNormalization) -> tf.Tensor | None:
    """Returns the mask that statistics are over: real elements, or all if none is real (an empty mean is NaN)."""
    # Those of several replicas are sums, to which one without anything real adds nothing.
    return real if real is None or step.synchronized else real | ~tf.reduce_any(real)


@keras.utils.register_keras_serializable(package="consort")
class MLP(LayerChain):
    """Dense layers, each h = dropout(activation(norm(W x + b))), and an optional linear one at the end.

    Args:
      hidden_units: width of each hidden layer; empty for none.
      dropout: share of each hidden layer's activations dropped in training.
      batch_norm: normalize before each activation, over all axes but the last; under several replicas over all their
        parts of the batch.
      activation: activation of the hidden layers, a Keras name.
      output_units: width of a last layer without activation, dropout or normalization; None: no such layer.
        Under a mixed-precision policy it alone works in float32: logits rounded to bfloat16 would tie.
      seed: seed of weights (Glorot normal; biases 0) and dropout.

    Call arguments:
      inputs: `[..., W]`.
      training: True drops, and normalizes by the batch.
      real: bool `[...]`; what is False counts in no statistics of the batch; None: all is real.

    Output shape: `[..., U]`, U the last layer's width.

    Raises:
      ValueError: neither hidden nor output units.
    """

    def __init__(
        self,
        hidden_units: Sequence[int] = (),
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
        output_units: int | None = None,
        seed: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not hidden_units and output_units is None:
            raise ValueError("hidden_units is empty and output_units is None; expected at least one layer; give either")
        self.hidden_units, self.output_units = tuple(hidden_units), output_units
        self.dropout, self.batch_norm, self.activation, self.seed = dropout, batch_norm, activation, seed
        self._steps: list[keras.layers.Layer] = []
        for depth, units in enumerate(self.hidden_units):
            self._steps += self._hidden(depth, units)
        if output_units is not None:
            self._steps.append(self._dense(len(self.hidden_units), output_units, None))

    def _hidden(self, depth: int, units: int) -> list[keras.layers.Layer]:
        # The activation belongs to the dense layer where it can: the two then run as one operation.
        steps = [self._dense(depth, units, None if self.batch_norm else self.activation)]
        if self.batch_norm:
            # Statistics of the whole batch, not of a replica's part.
            several = tf.distribute.get_strategy().num_replicas_in_sync > 1
            steps += [keras.layers.BatchNormalization(synchronized=several), keras.layers.Activation(self.activation)]
        if self.dropout:
            steps.append(ResumableDropout(self.dropout, self.seed + depth))
        return steps

    def _dense(self, depth: int, units: int, activation: str | None) -> Dense:
        start = keras.initializers.GlorotNormal(seed=self.seed + depth)
        # Normalization would take a bias away; it adds its own.
        biased = depth == len(self.hidden_units) or not self.batch_norm
        dtype = self.variable_dtype if depth == len(self.hidden_units) else self.dtype_policy
        return Dense(units, activation=activation, use_bias=biased, kernel_initializer=start, dtype=dtype)

    def hidden(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the input of the last linear layer, `[..., H]`: the last hidden layer, or the input if there is none.

        Args:
          inputs: as of a call, `[..., W]`.
          training: as in a call.
        """
        if not self.built:
            # Steps that had been built by themselves would be built again by the first call.
            self.build(inputs.shape)
        return self._through(self._steps if self.output_units is None else self._steps[:-1], inputs, training)

    @property
    def output_bias(self) -> tf.Variable | None:
        """Bias of the last layer, `[output_units]`; None without one."""
        return None if self.output_units is None else self._steps[-1].bias

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
            "activation": self.activation,
            "output_units": self.output_units,
            "seed": self.seed,
        }
