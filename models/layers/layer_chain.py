"""Layers one after the other."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.dropout import ResumableDropout


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
    """What statistics are over: what is real; where nothing is, everything, as a mean over nothing is no number."""
    # Those of several replicas are sums, to which one without anything real adds nothing.
    return real if real is None or step.synchronized else real | ~tf.reduce_any(real)
