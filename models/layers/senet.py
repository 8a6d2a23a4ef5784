"""Weights of fields by squeeze and excitation."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_count
from models.layers.seeds import derived_seed


@keras.utils.register_keras_serializable(package="consort")
class SENET(keras.layers.Layer):
    """Scales each field's vector by a weight that depends on all fields.

    s_i = mean_k e_i,k;  a = ReLU(W2 ReLU(W1 s));  v_i = a_i e_i

    W1 squeezes the F means to max(1, floor(F / r)) numbers; there are no biases and no residual.

    Reference: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear Feature Interaction for
    Click-Through Rate Prediction" (RecSys 2019), the SENET layer.

    Args:
      reduction_ratio: r.
      seed: of W1 and W2 (Glorot normal).

    Input shape: `[..., F, D]`.

    Output shape: the same.

    Raises:
      ValueError: `reduction_ratio` is less than 1.
    """

    def __init__(self, reduction_ratio: int = 3, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.reduction_ratio, self.seed = checked_count("reduction_ratio", reduction_ratio), seed

    def build(self, input_shape: Any) -> None:
        fields = tf.TensorShape(input_shape)[-2]
        reduced = max(1, fields // self.reduction_ratio)
        self.squeeze = self._kernel("squeeze", [fields, reduced])
        self.excite = self._kernel("excite", [reduced, fields])
        super().build(input_shape)

    def _kernel(self, name: str, shape: list[int]) -> tf.Variable:
        start = keras.initializers.GlorotNormal(seed=derived_seed(self.seed, name))
        return self.add_weight(name=name, shape=shape, initializer=start)

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        means = tf.reduce_mean(embeddings, axis=-1)
        weights = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(means, self.squeeze)), self.excite))
        return embeddings * weights[..., tf.newaxis]

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reduction_ratio": self.reduction_ratio, "seed": self.seed}
