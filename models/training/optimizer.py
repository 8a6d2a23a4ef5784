"""Adam that touches only the rows of a table that the batch looked up."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.training.row_sparse import RowSparseOptimizer, Slots


@keras.utils.register_keras_serializable(package="consort")
class LazyAdam(RowSparseOptimizer):
    """Adam whose step costs the same whatever the size of the embedding tables.

    A dense gradient g at step t moves its variable as Adam does:

      m = beta_1 m + (1 - beta_1) g
      v = beta_2 v + (1 - beta_2) g^2
      w = w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    A sparse one does the same to the rows that it names. All other rows, and their moments, stay as
    they are, where Adam would decay every moment and move every row. t is the global step, not the
    row's own number of updates.

    Reference: Kingma & Ba, "Adam" (ICLR 2015), algorithm 1 in the form before section 2.1.

    Args:
      learning_rate: a number or a Keras schedule.
      beta_1: decay of the first moment.
      beta_2: decay of the second moment.
      epsilon: added to the root of the second moment.
    """

    has_kernel = True

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "LazyAdam",
    ):
        super().__init__(learning_rate, {"m": 0.0, "v": 0.0}, name)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def moved(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        momentum, velocity = slots
        power_1, power_2 = self._powers(weights.dtype)
        momentum += (1 - self.beta_1) * (gradient - momentum)
        velocity += (1 - self.beta_2) * (tf.square(gradient) - velocity)
        rate = tf.cast(self.learning_rate, weights.dtype) * tf.sqrt(1 - power_2) / (1 - power_1)
        return weights - rate * momentum / (tf.sqrt(velocity) + self.epsilon), [momentum, velocity]

    def move_dense(self, variable: tf.Variable, slots: list[tf.Variable], gradient: tf.Tensor) -> None:
        dtype = variable.dtype
        power_1, power_2 = self._powers(dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=tf.cast(self.learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=gradient,
        )

    def _powers(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        step = tf.cast(self.iterations + 1, dtype)
        return tf.pow(tf.cast(self.beta_1, dtype), step), tf.pow(tf.cast(self.beta_2, dtype), step)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
