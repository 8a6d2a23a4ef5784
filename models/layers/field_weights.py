"""Layers that weigh fields by their embeddings."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count, derived_seed


class _FieldWeights(keras.layers.Layer):
    """A layer that scales the vectors of fields, by weights that are drawn from a seed."""

    def __init__(self, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.utils.register_keras_serializable(package="consort")
class SENET(_FieldWeights):
    """Scales each field's vector by a weight that depends on all fields.

    s_i = mean_k e_i,k;  a = ReLU(W2 ReLU(W1 s));  v_i = a_i e_i

    W1 squeezes the F means to max(1, floor(F / r)) numbers; there are no biases and no residual.

    Reference: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear Feature Interaction for
    Click-Through Rate Prediction" (RecSys 2019), the SENET layer.

    Args:
      reduction_ratio: r.
      seed: seed of W1 and W2 (Glorot normal).

    Input shape: `[..., F, D]`.

    Output shape: the same.

    Raises:
      ValueError: `reduction_ratio` is less than 1.
    """

    def __init__(self, reduction_ratio: int = 3, seed: int = 1, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.reduction_ratio = checked_count("reduction_ratio", reduction_ratio)

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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reduction_ratio": self.reduction_ratio}


@keras.utils.register_keras_serializable(package="consort")
class LightSE(_FieldWeights):
    """z_f = mean_k e_f,k;  a = softmax(W z);  output_f = e_f + a_f e_f.

    W is F x F without a bias. Unlike `SENET` it has no bottleneck, and keeps each field by a residual.

    Reference: Li et al., "IntTower: the Next Generation of Two-Tower Model for Pre-Ranking System" (CIKM
    2022, arXiv 2210.09890), the Light-SE block.

    Args:
      seed: seed of W (Glorot normal).

    Input shape: `[..., F, D]`.

    Output shape: the same.
    """

    def build(self, input_shape: Any) -> None:
        fields = tf.TensorShape(input_shape)[-2]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self._kernel = self.add_weight(name="kernel", shape=[fields, fields], initializer=start)
        super().build(input_shape)

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        weights = tf.nn.softmax(tf.tensordot(tf.reduce_mean(embeddings, axis=-1), self._kernel, axes=1))
        return embeddings * (1 + weights[..., tf.newaxis])


@keras.utils.register_keras_serializable(package="consort")
class FieldGates(_FieldWeights):
    """s_i = sigmoid(w_i . e_i + b_i), v_i = s_i e_i.

    Reference: "COLD: Towards the Next Generation of Pre-Ranking System" (2020), section 3.2.

    Args:
      seed: seed of w (Glorot normal; b starts at 0).

    Input shape: `[..., F, D]`.

    Output shape: the same.
    """

    def build(self, input_shape: Any) -> None:
        fields, width = tf.TensorShape(input_shape)[-2:]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self._weights = self.add_weight(name="weights", shape=[fields, width], initializer=start)
        self._bias = self.add_weight(name="bias", shape=[fields], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        gates = tf.sigmoid(tf.reduce_sum(inputs * self._weights, axis=-1) + self._bias)
        return inputs * gates[..., tf.newaxis]
