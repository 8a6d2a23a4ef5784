"""Attention of each candidate over a history, by a small network on the pair."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count, derived_seed
from models.layers.mlp import MLP
from models.layers.padded_lists import all_real


@keras.utils.register_keras_serializable(package="consort")
class TargetAttention(keras.layers.Layer):
    """a_ij = softmax_j MLP([q_i ; k_j ; q_i - k_j ; q_i k_j]), output_i = sum_j a_ij k_j.

    q = C W_q and k = S W_k. Costs M N, for rankers of a few candidates. A history without real elements gives zeros.

    Reference: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction" (KDD 2018), equation 3
    and figure 2; there the weights are not normalized, which a stream makes grow without bound.

    Args:
      width: W of q, k and the output.
      hidden_units: widths of the MLP's hidden layers; its output has no bias.
      seed: seed of all weights.

    Call arguments:
      queries: `[B, M, Dq]`.
      keys: `[B, N, Dk]`.
      mask: bool `[B, N]`, True for real keys; None: all are real.

    Output shape: `[B, M, W]`.
    """

    def __init__(self, width: int = 32, hidden_units: Sequence[int] = (36,), seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.width, self.hidden_units, self.seed = checked_count("width", width), tuple(hidden_units), seed
        self._query, self._key = self._projection("query", width), self._projection("key", width)
        self._pair = MLP(self.hidden_units, seed=derived_seed(seed, "pair"))
        # A bias would move all scores alike, of which a softmax sees nothing.
        self._score = self._projection("score", 1)

    def _projection(self, name: str, units: int) -> keras.layers.Dense:
        start = keras.initializers.GlorotNormal(seed=derived_seed(self.seed, name))
        return keras.layers.Dense(units, use_bias=False, kernel_initializer=start, name=name)

    def call(self, queries: tf.Tensor, keys: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        mask = all_real(keys) if mask is None else mask
        asked, known = self._query(queries)[:, :, tf.newaxis], self._key(keys)[:, tf.newaxis]
        product = asked * known
        pairs = tf.concat([tf.broadcast_to(asked, tf.shape(product)), asked - known, product], axis=-1)
        pairs = tf.concat([pairs, tf.broadcast_to(known, tf.shape(product))], axis=-1)
        scores = tf.squeeze(self._score(self._pair(pairs)), -1)
        real = mask[:, tf.newaxis]
        weights = tf.nn.softmax(tf.where(real, scores, scores.dtype.min), axis=-1)
        weights = tf.where(real, weights, tf.zeros_like(weights))
        return tf.matmul(weights, tf.squeeze(known, 1))

    def get_config(self) -> dict[str, Any]:
        arguments = {"width": self.width, "hidden_units": list(self.hidden_units), "seed": self.seed}
        return {**super().get_config(), **arguments}
