"""Ids: tokens to rows of an embedding table, looked up in one vocabulary that features may share."""

from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft

from transforms.beam.vocabulary import learn_vocabulary
from transforms.features import Encoding, Feature, Vocabulary
from transforms.ops.missing import Values, flat, is_real, like


def squared_log(values: tf.Tensor) -> tf.Tensor:
    """The Criteo_x4 discretisation: floor(ln(x)^2) if x > 2 else int(x); [n] float -> [n] int64."""
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
    buckets. A hashed vocabulary has 0 and its buckets. The vocabulary is learned from the analysed split only.

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
