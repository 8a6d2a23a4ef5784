"""FTRL-Proximal that touches only the rows of a table that the batch looked up."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.training.row_sparse import RowSparseOptimizer, Slots


@keras.utils.register_keras_serializable(package="consort")
class LazyFtrl(RowSparseOptimizer):
    """FTRL-Proximal whose step costs the same whatever the size of the embedding tables.

      sigma = (sqrt(n + g^2) - sqrt(n)) / alpha
      z = z + g - sigma w
      n = n + g^2
      w = 0 where |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)

    alpha is `learning_rate`. With l1 > 0 rare rows come out as exact zeros. A row starts with
    z = -w (beta + sqrt(n)) / alpha - w l2, so that its first step begins at its initial weight
    (McMahan starts every weight at 0, which embeddings must not).

    Reference: McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013), algorithm 1.

    Args:
      learning_rate: a number or a Keras schedule.
      initial_accumulator: n at the start.
      beta: smooths the first steps.
      l1: strength of the absolute penalty.
      l2: strength of the squared penalty.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 5e-2,
        initial_accumulator: float = 0.1,
        beta: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        name: str = "LazyFtrl",
    ):
        super().__init__(learning_rate, {"accumulator": initial_accumulator, "linear": float("nan")}, name)
        self.initial_accumulator, self.beta, self.l1, self.l2 = initial_accumulator, beta, l1, l2

    def moved(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        accumulator, linear = slots
        alpha = tf.cast(self.learning_rate, weights.dtype)
        # NaN marks a weight that has not moved yet: its z follows from where it starts.
        linear = tf.where(tf.math.is_nan(linear), -weights * self._scale(accumulator, alpha), linear)
        grown = accumulator + tf.square(gradient)
        linear += gradient - (tf.sqrt(grown) - tf.sqrt(accumulator)) / alpha * weights
        kept = tf.sign(linear) * tf.maximum(tf.abs(linear) - self.l1, 0)
        return -kept / self._scale(grown, alpha), [grown, linear]

    def _scale(self, accumulator: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        return (self.beta + tf.sqrt(accumulator)) / alpha + self.l2

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "initial_accumulator": self.initial_accumulator,
            "beta": self.beta,
            "l1": self.l1,
            "l2": self.l2,
        }
