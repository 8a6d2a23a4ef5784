"""The range of attention degrees while training: near zero or huge, they tell of attention that breaks down."""

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras


class Extreme(keras.metrics.Metric):
    """The least or the greatest value since the last reset; several replicas tell the mean of theirs.

    Args:
      name: of the metric.
      greatest: else the least.

    Attributes:
      suffix: added to the name: of several models in one, each has its own.
    """

    def __init__(self, name: str, greatest: bool, **kwargs: Any):
        self.suffix = ""
        # It is updated inside a layer, where a mixed-precision policy would have it read in half precision.
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self._choose = tf.maximum if greatest else tf.minimum
        self._nothing = -math.inf if greatest else math.inf
        start = keras.initializers.Constant(self._nothing)
        self._value = self.add_weight(name="value", initializer=start, aggregation=tf.VariableAggregation.MEAN)

    @property
    def name(self) -> str:
        return f"{self._name}{self.suffix}"

    def update_state(self, value: tf.Tensor) -> None:
        self._value.assign(self._choose(self._value, tf.cast(value, self._value.dtype)))

    def result(self) -> tf.Tensor:
        return tf.convert_to_tensor(self._value)

    def reset_state(self) -> None:
        self._value.assign(self._nothing)


def degree_range(stream: str) -> tuple[Extreme, Extreme]:
    """Metrics `degree_min/<stream>` and `degree_max/<stream>`."""
    return Extreme(f"degree_min/{stream}", False), Extreme(f"degree_max/{stream}", True)


def update_range(extremes: tuple[Extreme, Extreme], degrees: tf.Tensor, real: tf.Tensor) -> None:
    """Takes the degrees `[B, M, H]` of the queries that are real, bool `[B, M]`; none changes nothing."""
    least, greatest = extremes
    mask = real[..., tf.newaxis]
    least.update_state(tf.reduce_min(tf.where(mask, degrees, math.inf)))
    greatest.update_state(tf.reduce_max(tf.where(mask, degrees, -math.inf)))
