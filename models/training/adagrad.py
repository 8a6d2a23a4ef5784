"""Adagrad that touches only the rows of a table that the batch looked up."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.training.row_sparse import RowSparseOptimizer, Slots


@keras.utils.register_keras_serializable(package="consort")
class LazyAdagrad(RowSparseOptimizer):
    """Adagrad whose step costs the same whatever the size of the embedding tables.

      n = n + g^2
      w = w - learning_rate g / (sqrt(n) + epsilon)

    A row that a batch does not look up has g = 0 in Adagrad too: here lazy and dense are the same.

    Reference: Duchi et al., "Adaptive Subgradient Methods" (JMLR 2011), equation 1 with a diagonal G.

    Args:
      learning_rate: a number or a Keras schedule.
      initial_accumulator: n at the start; above 0 it damps the first steps.
      epsilon: added to the root.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-2,
        initial_accumulator: float = 0.1,
        epsilon: float = 1e-7,
        name: str = "LazyAdagrad",
    ):
        super().__init__(learning_rate, {"accumulator": initial_accumulator}, name)
        self.initial_accumulator, self.epsilon = initial_accumulator, epsilon

    def moved(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        accumulator = slots[0] + tf.square(gradient)
        rate = tf.cast(self.learning_rate, weights.dtype)
        return weights - rate * gradient / (tf.sqrt(accumulator) + self.epsilon), [accumulator]

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "initial_accumulator": self.initial_accumulator,
            "epsilon": self.epsilon,
        }
