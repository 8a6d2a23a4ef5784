"""Fields of a time in seconds, UTC."""

import tensorflow as tf

from transforms.features import Encoding, Feature
from transforms.ops.missing import Values, flat, like

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
