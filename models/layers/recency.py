"""Learned vectors for positions in a history, counted from its last event."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.padded_lists import all_real


@keras.utils.register_keras_serializable(package="consort")
class Recency(keras.layers.Layer):
    """Adds a learned vector for how many events ago an element of a history was; the most recent real one is 0 ago.

    Args:
      max_age: older elements share the vector of this age.

    Call arguments:
      history: `[B, N, W]`, most recent last among the real ones.
      mask: bool `[B, N]`; None: all are real.

    Output shape: `[B, N, W]`. The vectors start at 0: at first the order says nothing.
    """

    def __init__(self, max_age: int = 512, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_age = max_age

    def build(self, input_shape: Any) -> None:
        width = tf.TensorShape(input_shape)[-1]
        self._vectors = self.add_weight(name="vectors", shape=[self.max_age + 1, width], initializer="zeros")
        super().build(input_shape)

    def call(self, history: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        real = tf.cast(all_real(history) if mask is None else mask, tf.int32)
        ages = tf.cumsum(real, axis=1, exclusive=True, reverse=True)
        return history + tf.gather(self._vectors, tf.minimum(ages, self.max_age))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_age": self.max_age}
