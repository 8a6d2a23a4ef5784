"""Lookups in one embedding table that cost one random read a distinct id."""

from typing import Any

import tensorflow as tf


def look_up(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """Rows of a table; zeros for id 0. Nothing but stock ops that XLA knows: the form to serve.

    Args:
      table: `[V, W]`.
      ids: int64 `[N]`.

    Returns:
      `[N, W]`.
    """
    rows = tf.gather(table, ids)
    return rows * tf.cast(ids != 0, rows.dtype)[:, tf.newaxis]


def distinct_rows(table: tf.Variable, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The rows of the distinct ids but 0, read once each; the form to train.

    The table's gradient then holds one row a distinct id, which `LazyAdam` takes as it is.

    Args:
      table: `[V, W]`.
      ids: int64 `[N]`.

    Returns:
      rows `[U, W]` and, for each id, the position of its row in these, -1 for id 0: int32 `[N]`.
    """
    distinct, positions = tf.unique(tf.concat([tf.zeros([1], ids.dtype), ids], axis=0))
    return tf.gather(table, distinct[1:]), positions[1:] - 1


@tf.custom_gradient
def repeat_rows(rows: tf.Tensor, positions: tf.Tensor) -> Any:
    """`rows[positions]`, zeros at position -1, which also passes no gradient.

    Args:
      rows: `[U, ...]`.
      positions: int32 `[N]`.

    Returns:
      `[N, ...]`.
    """
    padded = tf.pad(rows, [[1, 0]] + [[0, 0]] * (rows.shape.rank - 1))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        # A negative segment is dropped, and with it whatever reached id 0.
        return tf.math.unsorted_segment_sum(upstream, positions, tf.shape(rows)[0]), None

    return tf.gather(padded, positions + 1), gradient


def mean_of_lists(values: tf.Tensor, real: tf.Tensor, lists: tf.Tensor, num_lists: tf.Tensor) -> tf.Tensor:
    """Mean over the real elements of each list; zeros for a list that has none.

    Args:
      values: `[T, ...]`, zeros where not real.
      real: bool `[T]`.
      lists: int64 `[T]`, the list of each element.
      num_lists: scalar.

    Returns:
      `[num_lists, ...]`.
    """
    sums = tf.math.unsorted_segment_sum(values, lists, num_lists)
    counts = tf.math.unsorted_segment_sum(tf.cast(real, values.dtype), lists, num_lists)
    return sums / tf.reshape(tf.maximum(counts, 1), [-1] + [1] * (values.shape.rank - 1))
