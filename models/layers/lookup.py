"""Lookups in one embedding table that cost one random read a distinct id."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def look_up(table: Any, ids: tf.Tensor) -> tf.Tensor:
    """Rows of a table, row 0 being zeros. Nothing but stock ops that XLA knows: the form to serve.

    Args:
      table: `[V, W]`, whole or sharded.
      ids: int64 `[N]`.

    Returns:
      `[N, W]`.
    """
    # tf.gather would fetch all shards of a sharded table.
    return tf.nn.embedding_lookup(table, ids) if hasattr(table, "variables") else tf.gather(table, ids)


def distinct_rows(table: Any, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The rows of the distinct ids, read once each, that of id 0 first; the form to train.

    The table's gradient then holds one row a distinct id, which our optimizers take as it is.

    Args:
      table: `[V, W]`, whole or sharded.
      ids: int64 `[N]`.

    Returns:
      rows `[U, W]`; for each id the position of its row in these: int32 `[N]`; and the rows' ids: int64 `[U]`.
    """
    distinct, positions = tf.unique(tf.concat([tf.zeros([1], ids.dtype), ids], axis=0))
    return look_up(table, distinct), positions[1:], distinct


def repeat_rows(rows: tf.Tensor, positions: tf.Tensor, widths: Sequence[int]) -> list[tf.Tensor]:
    """`rows[positions]`, cut into columns of some widths; position 0 passes no gradient, so that row 0 stays zeros.

    Args:
      rows: `[U, W]`.
      positions: int32 `[N]`.
      widths: of the pieces; their sum is W.

    Returns:
      One `[N, width]` a piece.
    """

    @tf.custom_gradient
    def repeated(rows: tf.Tensor) -> Any:
        # Cut before repeating, as there are fewer distinct rows than ids; summed as a whole, as one
        # pass over the positions costs more than joining the pieces.
        pieces = tf.split(rows, list(widths), axis=1)

        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            joined = tf.concat(upstream, axis=1) if len(upstream) > 1 else upstream[0]
            # A negative segment is dropped.
            segments = tf.where(positions == 0, -1, positions)
            return tf.math.unsorted_segment_sum(joined, segments, tf.shape(rows)[0])

        return [tf.gather(piece, positions) for piece in pieces], gradient

    found: list[tf.Tensor] = repeated(rows)
    return found


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
