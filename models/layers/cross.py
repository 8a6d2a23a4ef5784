"""Layers of the cross networks of DCN."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count, derived_seed
from models.layers.axes import merge_leading, split_leading


class _Cross(keras.layers.Layer):
    """A cross layer with one kernel W, of one column or a square, and one bias."""

    is_square = False

    def __init__(self, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        width = tf.TensorShape(input_shape[0])[-1]
        start = keras.initializers.GlorotNormal(seed=self.seed)
        self.kernel = self.add_weight(name="kernel", shape=[width, width if self.is_square else 1], initializer=start)
        self.bias = self.add_weight(name="bias", shape=[width], initializer="zeros")
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.utils.register_keras_serializable(package="consort")
class CrossLayer(_Cross):
    """Crosses the features of depth l once more with the first ones, by one vector of weights.

    x_{l+1} = x_0 (x_l^T w_l) + b_l + x_l

    Reference: Wang et al., "Deep & Cross Network for Ad Click Predictions" (ADKDD 2017), equation 3.

    Args:
      seed: seed of w (Glorot normal); b starts at 0.

    Input shape: the pair (x_0, x_l), each `[..., W]`.

    Output shape: `[..., W]`.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        first, current = inputs
        return first * tf.matmul(current, self.kernel) + self.bias + current


@keras.utils.register_keras_serializable(package="consort")
class CrossLayerV2(_Cross):
    """Crosses the features of depth l once more with the first ones, by a full matrix of weights.

    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, * elementwise

    Reference: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for
    Web-scale Learning to Rank Systems" (WWW 2021), equation 1.

    Args:
      seed: seed of W (Glorot normal); b starts at 0.

    Input shape: the pair (x_0, x_l), each `[..., W]`.

    Output shape: `[..., W]`.
    """

    is_square = True

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        first, current = inputs
        # The rows of x are records: x W here is W^T x of the formula.
        return first * (tf.matmul(current, self.kernel) + self.bias) + current


@keras.utils.register_keras_serializable(package="consort")
class CrossMixture(keras.layers.Layer):
    """Crosses the features of depth l once more with the first ones, by experts in low-dimensional spaces.

    x_{l+1} = x_l + sum_i g_i(x_l) x_0 * (U_i tanh(C_i tanh(V_i^T x_l)) + b), * elementwise

    g = softmax over the experts of a linear map of x_l without bias.

    Reference: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for
    Web-scale Learning to Rank Systems" (WWW 2021), equations 3 and 4 with tanh; gates of each layer's own.

    Args:
      rank: r, width of the low-dimensional space.
      num_experts: E.
      seed: seed of all kernels (Glorot normal, expert by expert); b starts at 0.

    Input shape: the pair (x_0, x_l), each `[..., W]`.

    Output shape: `[..., W]`.

    Raises:
      ValueError: `rank` or `num_experts` is less than 1.
    """

    def __init__(self, rank: int = 32, num_experts: int = 4, seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.rank, self.num_experts = checked_count("rank", rank), checked_count("num_experts", num_experts)
        self.seed = seed

    def build(self, input_shape: Any) -> None:
        width = tf.TensorShape(input_shape[0])[-1]
        experts, rank = self.num_experts, self.rank
        self.inward = self._kernel("inward", [width, experts * rank], width + rank)
        self.within = self._kernel("within", [experts, rank, rank], 2 * rank)
        self.outward = self._kernel("outward", [experts * rank, width], width + rank)
        self.gate = self._kernel("gate", [width, experts], width + 1)
        self.bias = self.add_weight(name="bias", shape=[width], initializer="zeros")
        super().build(input_shape)

    def _kernel(self, name: str, shape: list[int], fans: int) -> tf.Variable:
        start = keras.initializers.RandomNormal(stddev=(2 / fans) ** 0.5, seed=derived_seed(self.seed, name))
        return self.add_weight(name=name, shape=shape, initializer=start)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        first, current = (merge_leading(tensor, 1) for tensor in inputs)
        experts, rank = self.num_experts, self.rank
        low = tf.reshape(tf.tanh(tf.matmul(current, self.inward)), [-1, experts, rank])
        mixed = tf.matmul(tf.transpose(low, [1, 0, 2]), self.within)  # [E, N, r]
        mixed = tf.transpose(tf.tanh(mixed), [1, 0, 2])
        gates = tf.nn.softmax(tf.matmul(current, self.gate))[..., tf.newaxis]
        # sum_i g_i U_i t_i is one product with all U_i below each other; the gates sum to 1, so b stays b.
        weighted = tf.reshape(gates * mixed, [-1, experts * rank])
        crossed = current + first * (tf.matmul(weighted, self.outward) + self.bias)
        return split_leading(crossed, inputs[1], 1)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rank": self.rank, "num_experts": self.num_experts, "seed": self.seed}
