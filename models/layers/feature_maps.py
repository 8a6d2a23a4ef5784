"""Feature maps of linear attention: phi, by which similarity becomes an inner product phi(q) . phi(k)."""

from typing import Literal

import tensorflow as tf

FeatureMap = Literal["elu1", "relu", "softmax_qk", "exact"]
"""`exact` is none: softmax attention itself."""


def map_queries(queries: tf.Tensor, name: FeatureMap) -> tf.Tensor:
    """phi of queries, over their last axis.

    `elu1`: elu(x) + 1, above 0 everywhere (Katharopoulos et al. 2020, equation 7); `relu`: max(x, 0);
    `softmax_qk`: softmax over the features (Shen et al., "Efficient Attention", 2021, section 3.2).

    Args:
      queries: `[..., d]`; of one head where the map is `softmax_qk`, else of any number.
      name: of the map.
    """
    if name == "softmax_qk":
        return tf.nn.softmax(queries)
    return tf.nn.relu(queries) if name == "relu" else tf.nn.elu(queries) + 1


def map_keys(keys: tf.Tensor, mask: tf.Tensor, name: FeatureMap) -> tf.Tensor:
    """phi of keys, zeros where the mask is False; as `map_queries`, but `softmax_qk` is over the real positions.

    Args:
      keys: `[B, N, W]`.
      mask: bool `[B, N, 1]`.
      name: of the map.
    """
    zeros = tf.zeros_like(keys)
    if name != "softmax_qk":
        return tf.where(mask, map_queries(keys, name), zeros)
    # The floor is finite, so that a list without any real key gives zeros, not NaN.
    highest = tf.reduce_max(tf.where(mask, keys, keys.dtype.min), axis=1, keepdims=True)
    weights = tf.where(mask, tf.exp(tf.where(mask, keys - tf.stop_gradient(highest), zeros)), zeros)
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
