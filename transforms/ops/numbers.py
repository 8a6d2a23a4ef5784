"""Numbers: scaling, and buckets of equal counts. Statistics come from real values of the analysed split."""

import tensorflow as tf
import tensorflow_transform as tft

from transforms.features import Encoding, Feature
from transforms.ops.missing import Values, flat, like

_QUANTILE_EPSILON = 1e-3


def signed_log(values: tf.Tensor) -> tf.Tensor:
    """sign(x) ln(1 + |x|)."""
    return tf.sign(values) * tf.math.log1p(tf.abs(values))


def scaled(feature: Feature, values: Values, real: tf.Tensor) -> Values:
    """A `zscore`, `log_zscore`, `minmax` or `identity` feature; missing and padding become 0.

    Args:
      feature: which encoding.
      values: the raw column.
      real: bool [n], False where an element is missing or padding.
    """
    raw = tf.where(real, tf.cast(flat(values), tf.float32), 0.0)
    if feature.encoding is Encoding.LOG_ZSCORE:
        raw = signed_log(raw)
    known = tf.boolean_mask(raw, real)
    if feature.encoding is Encoding.MINMAX:
        low, high = tft.min(known), tft.max(known)
        result = tf.math.divide_no_nan(raw - low, high - low)
    elif feature.encoding is Encoding.IDENTITY:
        result = raw
    else:
        known = tf.cast(known, tf.float64)
        mean, deviation = tft.mean(known), tf.sqrt(tft.var(known))
        centred = tf.cast(raw, tf.float64) - mean
        result = tf.cast(tf.math.divide_no_nan(centred, deviation), tf.float32)
    return like(tf.where(real, result, 0.0), values)


def quantile_ids(feature: Feature, values: Values, real: tf.Tensor) -> Values:
    """1 + the index of the bucket (of `num_buckets` of equal counts); missing and padding are 0."""
    raw = tf.where(real, tf.cast(flat(values), tf.float32), 0.0)
    boundaries = tft.quantiles(tf.boolean_mask(raw, real), feature.num_buckets, epsilon=_QUANTILE_EPSILON)
    buckets = tf.cast(tft.apply_buckets(raw, boundaries), tf.int64)
    return like(tf.where(real, buckets + 1, tf.zeros_like(buckets)), values)
