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

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._through(self._steps, inputs, training)

    def _through(
        self, steps: Sequence[keras.layers.Layer], inputs: tf.Tensor, training: bool | None = None
    ) -> tf.Tensor:
        outputs = inputs
        for step in steps:
            takes_training = isinstance(step, ResumableDropout | keras.layers.BatchNormalization)
            outputs = step(outputs, training=training) if takes_training else step(outputs)
        return outputs
