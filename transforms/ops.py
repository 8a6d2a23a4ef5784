"""How a raw column becomes a model feature, in TensorFlow Transform: ids, numbers and times.

Statistics and vocabularies come from real values of the analyzed split: no missing markers, no padding.
"""

from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf
import tensorflow_transform as tft

from transforms.beam.statistics import Extremes, Moments, Quantiles, Statistic
from transforms.beam.vocabulary import learn_vocabulary
from transforms.features import MISSING_INT, MISSING_STRING, Encoding, Feature, Vocabulary

Values: TypeAlias = tf.Tensor | tf.RaggedTensor


def flat(values: Values) -> tf.Tensor:
    """All elements in one dimension: dense of any rank, or ragged -> [n]."""
    return values.flat_values if isinstance(values, tf.RaggedTensor) else tf.reshape(values, [-1])


def like(flat_values: tf.Tensor, template: Values) -> Values:
    """Elements in one dimension in the shape of `template` again: the inverse of `flat`."""
    if isinstance(template, tf.RaggedTensor):
        return template.with_flat_values(flat_values)
    shaped = tf.reshape(flat_values, tf.shape(template))
    # Known while the graph is made, and no operation in it: a server takes any number of candidates.
    shaped.set_shape(template.shape)
    return shaped


def is_real(flat_values: tf.Tensor) -> tf.Tensor:
    """True where a raw value is not a missing marker; [n] -> bool [n]."""
    if flat_values.dtype == tf.string:
        return tf.not_equal(flat_values, MISSING_STRING)
    if flat_values.dtype.is_floating:
        return tf.math.is_finite(flat_values)
    return tf.not_equal(flat_values, MISSING_INT)


def squared_log(values: tf.Tensor) -> tf.Tensor:
    """The Criteo_x4 discretization: floor(ln(x)^2) if x > 2 else int(x); [n] float -> [n] int64."""
    values = tf.cast(values, tf.float64)
    logarithm = tf.math.log(tf.maximum(values, 2.0))
    return tf.cast(tf.where(values > 2.0, tf.floor(logarithm * logarithm), values), tf.int64)


def tokens_of(feature: Feature, values: Values, real: tf.Tensor, prefix: bool) -> tf.Tensor:
    """The token of each element, [n] string; missing and padding are the empty string.

    Args:
      feature: an `id` or `squared_log` feature.
      values: its raw column.
      real: bool [n], False where an element is missing or padding.
      prefix: put the feature's name before each token.
    """
    raw = flat(values)
    if feature.encoding is Encoding.SQUARED_LOG:
        raw = squared_log(tf.where(real, tf.cast(raw, tf.float32), tf.zeros_like(raw, tf.float32)))
    tokens = raw if raw.dtype == tf.string else tf.strings.as_string(raw)
    if prefix:
        tokens = tf.strings.join([f"{feature.name}=", tokens])
    return tf.where(real, tokens, tf.zeros_like(tokens))


def vocabulary_ids(
    vocabulary: Vocabulary, features: Mapping[str, tuple[Feature, Values, tf.Tensor]]
) -> dict[str, Values]:
    """Ids of all features of one vocabulary, looked up together.

    0 = missing or padding; then the vocabulary by falling frequency; then the out-of-vocabulary
    buckets. A hashed vocabulary has 0 and its buckets. The vocabulary is learned from the analyzed split only.

    Args:
      vocabulary: the declared one.
      features: by name: the feature, its raw column and which elements are real.

    Returns:
      By name: int64 ids in the raw column's shape.
    """
    tokens = {name: tokens_of(f, values, real, vocabulary.prefix) for name, (f, values, real) in features.items()}
    pooled = tf.concat(list(tokens.values()), axis=0)
    real = is_real(pooled)
    if vocabulary.hash_buckets is not None:
        ids = tf.strings.to_hash_bucket_fast(pooled, vocabulary.hash_buckets)
    else:
        learned = learn_vocabulary(tf.boolean_mask(pooled, real), vocabulary)
        ids = tft.apply_vocabulary(pooled, learned, num_oov_buckets=vocabulary.num_oov_buckets)
    ids = tf.where(real, tf.cast(ids, tf.int64) + 1, tf.zeros_like(pooled, tf.int64))
    parts = tf.split(ids, [tf.size(part) for part in tokens.values()], num=len(tokens))
    return {name: like(part, features[name][1]) for name, part in zip(tokens, parts, strict=True)}


def signed_log(values: tf.Tensor) -> tf.Tensor:
    """sign(x) ln(1 + |x|)."""
    return tf.sign(values) * tf.math.log1p(tf.abs(values))


def statistic_of(
    feature: Feature, values: Values, real: tf.Tensor, width: int | None = None
) -> tuple[Statistic, tf.Tensor] | None:
    """What is to be learned of a feature, and the real values to learn it from; None: nothing.

    Args:
      feature: which encoding.
      values, real, width: as in `scaled`.
    """
    if feature.encoding is Encoding.QUANTILE:
        return Quantiles(feature.num_buckets), tf.boolean_mask(tf.cast(flat(values), tf.float32), real)
    if feature.encoding is Encoding.MINMAX:
        return Extremes(), tf.boolean_mask(_numbers(feature, values, real, width), real)
    if feature.encoding in (Encoding.ZSCORE, Encoding.LOG_ZSCORE):
        return Moments(width or 1), tf.boolean_mask(_numbers(feature, values, real, width), real)
    return None


def scaled(
    feature: Feature, values: Values, real: tf.Tensor, learned: tf.Tensor | None, width: int | None = None
) -> Values:
    """A `zscore`, `log_zscore`, `minmax`, `identity` or `vector` feature; missing and padding become 0.

    Always finite: a column without real values, or with one value only, in the analyzed split gives 0; what float32
    cannot hold becomes its largest number. Worked out in float64, where whole numbers of any size and times keep
    their differences.

    Args:
      feature: which encoding.
      values: the raw column.
      real: bool [n], False where an element is missing or padding; of a column with width one for each vector, False
        where it has a missing value or is padding: then all of it becomes 0.
      learned: of `statistic_of`; None where nothing is to be learned.
      width: W of a column `[..., W]`, whose components are scaled each by itself.
    """
    result = _numbers(feature, values, real, width)
    if learned is not None:
        first, second = tf.split(learned, 2)
        if feature.encoding is Encoding.MINMAX:
            result = tf.math.divide_no_nan(result - first, second - first)
        else:
            result = tf.math.divide_no_nan(result - first, tf.sqrt(second))
    limit = tf.float32.max
    result = tf.cast(tf.clip_by_value(result, -limit, limit), tf.float32)
    return like(tf.where(real if width is None else real[:, tf.newaxis], result, 0.0), values)


def _numbers(feature: Feature, values: Values, real: tf.Tensor, width: int | None) -> tf.Tensor:
    """Returns the numbers to scale: [n], or [n, W]."""
    raw = tf.cast(flat(values), tf.float64)
    if width is None:
        raw = tf.where(real, raw, 0.0)
    else:
        raw = tf.where(real[:, tf.newaxis], tf.reshape(raw, [-1, width]), 0.0)
    return signed_log(raw) if feature.encoding is Encoding.LOG_ZSCORE else raw


def quantile_ids(feature: Feature, values: Values, real: tf.Tensor, boundaries: tf.Tensor) -> Values:
    """1 + the index of the bucket (of `num_buckets` of equal counts); missing and padding are 0.

    Args:
      feature: which encoding.
      values, real: as in `scaled`.
      boundaries: of `statistic_of`.
    """
    raw = tf.where(real, tf.cast(flat(values), tf.float32), 0.0)
    buckets = tf.searchsorted(tf.cast(boundaries, tf.float32), raw, side="right", out_type=tf.int64)
    return like(tf.where(real, buckets + 1, tf.zeros_like(buckets)), values)


_HOUR, _DAY = 3600, 86400
_EPOCH_WEEKDAY = 3
"""1 January 1970 was a Thursday; Monday is 0."""
_SATURDAY = 5


def time_ids(feature: Feature, values: Values, real: tf.Tensor) -> Values:
    """`hour_of_day`: 1 + hour; `day_of_week`: 1 + weekday (Monday 0); `weekend`: 2 or 1; missing is 0."""
    seconds = tf.cast(flat(values), tf.int64)
    if feature.encoding is Encoding.HOUR_OF_DAY:
        field = tf.math.floormod(seconds, _DAY) // _HOUR
    else:
        field = tf.math.floormod(tf.math.floordiv(seconds, _DAY) + _EPOCH_WEEKDAY, 7)
        if feature.encoding is Encoding.WEEKEND:
            field = tf.cast(field >= _SATURDAY, tf.int64)
    return like(tf.where(real, field + 1, tf.zeros_like(field)), values)
