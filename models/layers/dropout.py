"""Dropout that continues after a restart where it stopped."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.replicas import replica_seed


@keras.utils.register_keras_serializable(package="consort")
class ResumableDropout(keras.layers.Layer):
    """Sets a share of activations to zero in training, and scales the others by 1 / (1 - rate).

    What it drops is a function of the seed and of the number of training calls so far, which is a
    variable of the layer: restored from a checkpoint, it drops what the uninterrupted run would have.
    (Keras' own layer keeps its random state out of checkpoints.)

    Args:
      rate: share of activations to drop.
      seed: of the choice.

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
