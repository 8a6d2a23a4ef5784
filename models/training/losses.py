"""The click loss and its metric, element by element, the same for rows and requests."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.replicas import batch_mean


def cross_entropies(label: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Returns the log loss of each element: -[y ln p + (1 - y) ln(1 - p)] with p = sigmoid(logit).

    Args:
      label: in [0, 1], any shape.
      logit: the same shape.
    """
    logit = tf.convert_to_tensor(logit)
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(label, logit.dtype), logits=logit)


@keras.utils.register_keras_serializable(package="consort")
class ClickLoss(keras.losses.Loss):
    """Mean log loss of logits over the elements, weighted: sum of w l / sum of w.

    Keras' own `BinaryCrossentropy` averages the last axis first, so that it cannot weight the
    candidates of a request; and it divides by the number of elements, weighted zero or not.

    Call arguments:
      y_true: labels in [0, 1]: `[B]` or `[B, M]`.
      y_pred: logits of the same shape.
      sample_weight: weights of the same shape, such as the exposure mask; None weights all alike. If
        they sum to zero the loss is 0.

    Output shape: a scalar; for several replicas see `batch_mean`.
    """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        return batch_mean(self.call(y_true, y_pred), sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        return cross_entropies(y_true, y_pred)


@keras.utils.register_keras_serializable(package="consort")
class LogLoss(keras.metrics.MeanMetricWrapper):
    """Weighted mean of the elements' log loss; the shapes are those of `ClickLoss`."""

    def __init__(self, name: str = "logloss", dtype: Any = None):
        super().__init__(cross_entropies, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


@keras.utils.register_keras_serializable(package="consort")
class Examples(keras.metrics.Metric):
    """Number of records seen since the last reset."""

    def __init__(self, name: str = "examples", dtype: Any = tf.int64):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(name="total", initializer="zeros", dtype=tf.int64)

    def update_state(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> None:
        self.total.assign_add(tf.shape(y_true, out_type=tf.int64)[0])

    def result(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.total)
