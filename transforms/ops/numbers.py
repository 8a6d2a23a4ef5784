"""Numbers: scaling, and buckets of equal counts. Statistics come from real values of the analysed split."""

import tensorflow as tf
import tensorflow_transform as tft

from transforms.features import Encoding, Feature
from transforms.ops.missing import Values, flat, like

_QUANTILE_EPSILON = 1e-3
_ROUNDING = 1e-12


def signed_log(values: tf.Tensor) -> tf.Tensor:
    """sign(x) ln(1 + |x|)."""
    return tf.sign(values) * tf.math.log1p(tf.abs(values))


def scaled(feature: Feature, values: Values, real: tf.Tensor) -> Values:
    """A `zscore`, `log_zscore`, `minmax` or `identity` feature; missing and padding become 0.

    Always finite: a column without real values, or with one value only, in the analysed split gives 0; what float32
    cannot hold becomes its largest number. Worked out in float64, where whole numbers of any size and times keep
    their differences.

    Args:
      feature: which encoding.
      values: the raw column.
      real: bool [n], False where an element is missing or padding.
    """
    raw = tf.where(real, tf.cast(flat(values), tf.float64), 0.0)
    if feature.encoding is Encoding.LOG_ZSCORE:
        raw = signed_log(raw)
    known = tf.boolean_mask(raw, real)
    if feature.encoding is Encoding.MINMAX:
        low, high = _finite(tft.min(known)), _finite(tft.max(known))
        result = tf.math.divide_no_nan(raw - low, high - low)
    elif feature.encoding is Encoding.IDENTITY:
        result = raw
    else:
        mean, deviation = _finite(tft.mean(known)), tf.sqrt(_finite(tft.var(known)))
        # Of equal values rounding alone leaves a deviation.
        deviation = tf.where(deviation > _ROUNDING * tf.abs(mean), deviation, 0.0)
        result = tf.math.divide_no_nan(raw - mean, deviation)
    limit = tf.float32.max
    result = tf.cast(tf.clip_by_value(result, -limit, limit), tf.float32)
    return like(tf.where(real, result, 0.0), values)


def _finite(statistic: tf.Tensor) -> tf.Tensor:
    """0 in place of what TensorFlow Transform has for a column without values."""
    return tf.where(tf.math.is_finite(statistic), statistic, tf.zeros_like(statistic))


def quantile_ids(feature: Feature, values: Values, real: tf.Tensor) -> Values:
    """1 + the index of the bucket (of `num_buckets` of equal counts); missing and padding are 0."""
    raw = tf.where(real, tf.cast(flat(values), tf.float32), 0.0)
    boundaries = tft.quantiles(tf.boolean_mask(raw, real), feature.num_buckets, epsilon=_QUANTILE_EPSILON)
    buckets = tf.cast(tft.apply_buckets(raw, boundaries), tf.int64)
    return like(tf.where(real, buckets + 1, tf.zeros_like(buckets)), values)
