"""Linear attention from one set to another."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_choice, checked_count
from models.layers.feature_maps import FeatureMap, map_keys, map_queries
from models.layers.masks import all_real
from models.layers.seeds import derived_seed

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
      seed: of the weights (Glorot normal, no biases).

    Call arguments:
      queries: `[B, M, Dq]`.
      keys: `[B, N, Dk]`; N may be 0.
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

    def call(self, queries: tf.Tensor, keys: tf.Tensor, mask: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        mask = all_real(keys) if mask is None else mask
        projected = self._query(queries), self._key(keys), self._value(keys)
        if self.feature_map == "exact":
            return self._exact(*projected, mask)
        return self._linear(*projected, mask)

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
        own = tf.constant(self._blocks(), keys.dtype)
        sums = tf.matmul(keys, values, transpose_a=True) * tf.matmul(own, own, transpose_b=True)
        totals = tf.reduce_sum(keys, axis=1)[..., tf.newaxis] * own
        both = tf.matmul(queries, tf.concat([sums, totals], axis=-1))
        attended, degrees = tf.split(both, [self.width, self.heads], axis=-1)
        degrees = tf.cast(degrees, tf.float32)
        scale = tf.cast(1 / (degrees + EPSILON), attended.dtype)
        return attended * tf.matmul(scale, own, transpose_b=True), degrees

    def _blocks(self) -> list[list[float]]:
        """Which head each of the W columns belongs to, `[W, H]`."""
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
