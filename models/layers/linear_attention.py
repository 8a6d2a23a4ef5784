"""Attention by kernel feature maps, linear in queries plus keys, and the range of its degrees."""

import math
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_choice, checked_count, derived_seed
from models.layers.padded_lists import all_real
from models.layers.set_vectors import FactoredFields, product

FeatureMap = Literal["elu1", "relu", "softmax_qk", "exact"]
"""`exact` is none: softmax attention itself."""


def map_queries(queries: tf.Tensor, name: FeatureMap) -> tf.Tensor:
    """phi of queries, over their last axis.

    `elu1`: elu(x) + 1, above 0 everywhere (Katharopoulos et al. 2020, equation 7); `relu`: max(x, 0);
    `softmax_qk`: softmax over the features (Shen et al., "Efficient Attention", 2021, section 3.2).

    Args:
      queries: `[..., d]`; of one head where the map is `softmax_qk`, else of any number.
      name: name of the map.
    """
    if name == "softmax_qk":
        return tf.nn.softmax(queries)
    return tf.nn.relu(queries) if name == "relu" else tf.nn.elu(queries) + 1


def map_keys(keys: tf.Tensor, mask: tf.Tensor, name: FeatureMap) -> tf.Tensor:
    """phi of keys, zeros where the mask is False; as `map_queries`, but `softmax_qk` is over the real positions.

    Args:
      keys: `[B, N, W]`.
      mask: bool `[B, N, 1]`.
      name: name of the map.
    """
    zeros = tf.zeros_like(keys)
    if name != "softmax_qk":
        return tf.where(mask, map_queries(keys, name), zeros)
    # The floor is finite, so that a list without any real key gives zeros, not NaN.
    highest = tf.reduce_max(tf.where(mask, keys, keys.dtype.min), axis=1, keepdims=True)
    weights = tf.where(mask, tf.exp(tf.where(mask, keys - tf.stop_gradient(highest), zeros)), zeros)
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))


EPSILON = 1e-6
"""Added to degrees, as fast-transformers does: a row without any key gives zeros."""
FEATURE_MAPS = ("elu1", "relu", "softmax_qk", "exact")


@keras.utils.register_keras_serializable(package="consort")
class LinearAttention(keras.layers.Layer):
    """Multi-head attention of M queries over N keys in O(M + N) time and memory.

    With Q = C W_q, K = S W_k, V = S W_v, for each head:

      (3, 4) F = D^-1 phi(Q) (phi(K)^T V)
      (7) D_ii = sum_j phi(q_i) . phi(k_j)

    phi(K)^T V comes first, so that no `M x N` matrix is ever made. Padded keys are zeros in phi(K), so
    that they count in no sum; queries that are padding are computed, and mean nothing.

    Reference: "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369),
    equations 3, 4 and 7; Katharopoulos et al., "Transformers are RNNs" (ICML 2020), equations 4 to 6.

    Args:
      width: W, of all heads together.
      heads: H; must divide `width`.
      feature_map: phi: `elu1` (elu(x) + 1), `relu`, `softmax_qk`; or `exact`, softmax attention
        softmax(Q K^T / sqrt(d)) V in O(M N), to compare with.
      seed: seed of the weights (Glorot normal, no biases).

    Call arguments:
      queries: `[B, M, Dq]`, or `FactoredFields` of that width.
      keys: `[B, N, Dk]`, likewise; N may be 0.
      mask: bool `[B, N]`, True for real keys; None: all are real.

    Output shape: `[B, M, W]`, and the degrees D `[B, M, H]`, float32; those of `exact` are 1, or 0 without keys.

    Raises:
      ValueError: `heads` does not divide `width`, or there is no such feature map.
    """

    def __init__(self, width: int = 64, heads: int = 4, feature_map: FeatureMap = "elu1", seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.width, self.heads = checked_count("width", width), checked_count("heads", heads)
        if width % heads:
            raise ValueError(f"width is {width}, heads {heads}; expected a multiple of heads; correct one of them")
        self.feature_map: Any = checked_choice("feature_map", feature_map, FEATURE_MAPS)
        self.seed = seed
        self._query = self._projection("query", width)
        self._key = self._projection("key", width)
        self._value = self._projection("value", width)

    def _projection(self, name: str, units: int) -> keras.layers.Dense:
        start = keras.initializers.GlorotNormal(seed=derived_seed(self.seed, name))
        return keras.layers.Dense(units, use_bias=False, kernel_initializer=start, name=name)

    def call(
        self, queries: tf.Tensor | FactoredFields, keys: tf.Tensor | FactoredFields, mask: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if mask is None:
            mask = all_real(keys.columns if isinstance(keys, FactoredFields) else keys)
        projected = (
            self._projected(self._query, queries),
            self._projected(self._key, keys),
            self._projected(self._value, keys),
        )
        if self.feature_map == "exact":
            return self._exact(*projected, mask)
        return self._linear(*projected, mask)

    def _projected(self, layer: keras.layers.Dense, inputs: tf.Tensor | FactoredFields) -> tf.Tensor:
        inputs = tf.nest.map_structure(lambda part: tf.cast(part, self.compute_dtype), inputs)
        if not layer.built:
            layer.build([None, inputs.width if isinstance(inputs, FactoredFields) else inputs.shape[-1]])
        return product(inputs, layer.kernel)

    def _linear(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self.feature_map == "softmax_qk":
            queries = self._merged(map_queries(self._split(queries), self.feature_map))
        else:
            queries = map_queries(queries, self.feature_map)
        keys = map_keys(keys, mask[..., tf.newaxis], self.feature_map)
        # One product for all heads, of which the blocks on the diagonal are kept: more multiplications
        # than head by head, and faster, as nothing is transposed.
        blocks = tf.constant(self._blocks(), keys.dtype)
        sums = tf.matmul(keys, values, transpose_a=True) * tf.matmul(blocks, blocks, transpose_b=True)
        totals = tf.reduce_sum(keys, axis=1)[..., tf.newaxis] * blocks
        both = tf.matmul(queries, tf.concat([sums, totals], axis=-1))
        attended, degrees = tf.split(both, [self.width, self.heads], axis=-1)
        degrees = tf.cast(degrees, tf.float32)
        scale = tf.cast(1 / (degrees + EPSILON), attended.dtype)
        return attended * product(scale, tf.transpose(blocks)), degrees

    def _blocks(self) -> list[list[float]]:
        """Returns a 0/1 matrix `[W, H]` of the head that each of the W columns belongs to."""
        depth = self.width // self.heads
        return [[float(column // depth == head) for head in range(self.heads)] for column in range(self.width)]

    def _exact(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        queries, keys, values = (tf.transpose(self._split(part), [0, 2, 1, 3]) for part in (queries, keys, values))
        scores = tf.matmul(queries, keys, transpose_b=True) / (self.width // self.heads) ** 0.5
        real = mask[:, tf.newaxis, tf.newaxis, :]
        weights = tf.nn.softmax(tf.where(real, scores, scores.dtype.min), axis=-1)
        weights = tf.where(real, weights, tf.zeros_like(weights))  # Of no keys at all.
        attended = self._merged(tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3]))
        degrees = tf.transpose(tf.cast(tf.reduce_sum(weights, axis=-1), tf.float32), [0, 2, 1])
        return attended, degrees

    def _split(self, tensor: tf.Tensor) -> tf.Tensor:
        """`[B, X, W]` as `[B, X, H, W / H]`."""
        sizes = tf.concat([tf.shape(tensor)[:-1], [self.heads, self.width // self.heads]], axis=0)
        return tf.reshape(tensor, sizes)

    def _merged(self, tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, tf.concat([tf.shape(tensor)[:-2], [self.width]], axis=0))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "heads": self.heads,
            "feature_map": self.feature_map,
            "seed": self.seed,
        }


class Extreme(keras.metrics.Metric):
    """The least or the greatest value since the last reset; with several replicas, the mean over them.

    Args:
      name: name of the metric.
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
