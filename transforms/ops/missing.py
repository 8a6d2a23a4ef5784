"""Which raw values are real: not a missing marker, not padding."""

from typing import TypeAlias

import tensorflow as tf

from transforms.features import MISSING_INT, MISSING_STRING

Values: TypeAlias = tf.Tensor | tf.RaggedTensor


def flat(values: Values) -> tf.Tensor:
    """All elements in one dimension: [B], [B, M] or ragged -> [n]."""
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
