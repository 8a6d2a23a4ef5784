"""Learned vectors and weights for positions in a history, counted from its last event."""

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


@keras.utils.register_keras_serializable(package="consort")
class RecencyWeightedMean(keras.layers.Layer):
    """Mean of the real elements of each history, with a learned weight for how far back an element stands.

    With x_n the elements and a_n the places from x_n to the last real one, m_n 1 for real elements and 0 for others:

      sum_n m_n exp(w_a_n) x_n / sum_n m_n exp(w_a_n)

    The weights w start at 0: at first it is the mean. Places are counted, not real elements, so that dropping some
    elements in training leaves the others where they stood.

    Args:
      max_age: older elements share the weight of this age.

    Call arguments:
      history: `[B, N, W]`, most recent last among the real ones.
      mask: bool `[B, N]`; None: all are real.

    Output shape: `[B, W]`, zeros for an empty history.
    """

    def __init__(self, max_age: int = 49, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_age = max_age

    def build(self, input_shape: Any) -> None:
        self.weight = self.add_weight(name="weight", shape=[self.max_age + 1], initializer="zeros")
        super().build(input_shape)

    def call(self, history: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        real = all_real(history) if mask is None else mask
        places = tf.range(tf.shape(real)[1])
        last = tf.reduce_max(tf.where(real, places, -1), axis=1, keepdims=True)
        ages = tf.clip_by_value(last - places, 0, self.max_age)
        weight = tf.cast(self.weight, history.dtype)
        # Less the largest, which cancels, no exponential overflows.
        each = tf.gather(tf.exp(weight - tf.stop_gradient(tf.reduce_max(weight))), ages) * tf.cast(real, history.dtype)
        total = tf.reduce_sum(each, axis=1, keepdims=True)
        mean: Any = tf.reduce_sum(history * tf.math.divide_no_nan(each, total)[..., tf.newaxis], axis=1)
        return mean

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_age": self.max_age}
