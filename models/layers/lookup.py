"""Lookups in one embedding table: which rows, read once each, and which ids are out of range."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models.layers.padded_lists import last_elements
from transforms.features import ModelInput, Pooling, Shape


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
      widths: widths of the pieces; their sum is W.

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

    result: list[tf.Tensor] = repeated(rows)
    return result


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


def pooled(values: tf.Tensor, real: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """Sum, mean or maximum over the real values of each list; zeros for a list that has none.

    Args:
      values: `[..., W, D]`, zeros where not real.
      real: bool `[..., W]`.
      pooling: which of these.

    Returns:
      `[..., D]`.
    """
    if pooling == "max":
        largest = tf.reduce_max(tf.where(real[..., tf.newaxis], values, values.dtype.min), axis=-2)
        return tf.where(tf.reduce_any(real, axis=-1, keepdims=True), largest, 0.0)
    sums = tf.reduce_sum(values, axis=-2)
    if pooling == "sum":
        return sums
    return sums / tf.maximum(tf.reduce_sum(tf.cast(real, values.dtype), axis=-1, keepdims=True), 1)


class FieldStack:
    """The values of all fields of one shape in a batch, ids or numbers.

    Args:
      shape: shape of the fields.
      fields: in the order wanted.
      features: the batch.
      rows: for ids: `(first, size)` of each field's part of the table; None for numbers.

    `values` is `[B, F]` for scalars, `[B, M, F]` for candidates, `[T]` for the elements of all lists, `[B, N, F]` for
    lists that come dense, `[B, W]` or `[B, M, W]` for fields of several values, W the sum of their widths. Ids have
    become rows of the table: 0 for id 0, `out_of_range` for what lies outside the field's part.
    """

    def __init__(
        self,
        shape: Shape,
        fields: Sequence[ModelInput],
        features: Mapping[str, Any],
        rows: Sequence[tuple[int, int]] | None = None,
        out_of_range: int = 0,
    ):
        self.num_fields, self._fields = len(fields), fields
        self._lists: tf.Tensor | None = None
        if fields[0].width is not None:
            values = [tf.convert_to_tensor(features[item.name]) for item in fields]
            if rows is not None:
                values = [_rows_of(part, tf.constant(kept, tf.int64), out_of_range) for part, kept in zip(values, rows)]
            self.values = tf.concat(values, axis=-1)
            return
        # Lists that are dense already are stacked as candidates are, element by element.
        if not isinstance(features[fields[0].name], tf.RaggedTensor):
            axis = 1 if shape is Shape.SCALAR else 2
            self.values = tf.stack([tf.convert_to_tensor(features[item.name]) for item in fields], axis=axis)
            if rows is not None:
                self.values = _rows_of(self.values, tf.constant(rows, tf.int64), out_of_range)
            return
        lists = [last_elements(features[item.name], item.max_length) for item in fields]
        values = [part.values for part in lists]
        if rows is not None:
            values = [_rows_of(part, tf.constant(kept, tf.int64), out_of_range) for part, kept in zip(values, rows)]
        self.values = tf.concat(values, axis=0)
        # List k of record b is list b * F + k, so that the means stand in the order [B, F].
        owners = [part.value_rowids() * self.num_fields + k for k, part in enumerate(lists)]
        self._lists = tf.concat(owners, axis=0)
        self._num_lists = lists[0].nrows() * self.num_fields

    def arranged(self, flat: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Arranges the vectors of the values, `[N, W]`, as `[B, F, W]` or `[B, M, F, W]`; lists as means.

        Those of fields of several values are pooled as each field says.
        """
        width = flat.shape[-1]
        if self._fields[0].width is not None:
            vectors = tf.reshape(flat, tf.concat([tf.shape(self.values), [width]], axis=0))
            sizes = [item.width for item in self._fields]
            parts = zip(tf.split(vectors, sizes, axis=-2), tf.split(real, sizes, axis=-1), self._fields, strict=True)
            return tf.stack([pooled(part, is_real, item.pooling or "mean") for part, is_real, item in parts], axis=-2)
        if self._lists is not None:
            means = mean_of_lists(flat, real, self._lists, self._num_lists)
            return tf.reshape(means, [-1, self.num_fields, width])
        if self.values.shape.rank == 2:
            return tf.reshape(flat, [-1, self.num_fields, width])
        return tf.reshape(flat, tf.concat([tf.shape(self.values), [width]], axis=0))


def assembled(shared: list[tf.Tensor], candidates: list[tf.Tensor]) -> tf.Tensor:
    """All fields on one axis; what the candidates `[B, M, F, W]` share, `[B, F, W]`, repeats for each."""
    if not candidates:
        return _joined(shared, axis=1)
    varying = _joined(candidates, axis=2)
    if not shared:
        return varying
    common = _joined(shared, axis=1)[:, tf.newaxis]
    sizes = tf.concat([tf.shape(varying)[:2], tf.shape(common)[2:]], axis=0)
    repeated = tf.ensure_shape(tf.broadcast_to(common, sizes), [None, varying.shape[1], *common.shape[2:]])
    return tf.concat([repeated, varying], axis=2)


def _rows_of(ids: tf.Tensor, rows: tf.Tensor, out_of_range: int) -> tf.Tensor:
    """Ids `[..., F]` (or `[T]` of one field) as rows of the table."""
    ids = tf.cast(ids, tf.int64)
    first, size = rows[..., 0], rows[..., 1]
    result = tf.where((ids >= 0) & (ids < size), ids + first, out_of_range)
    return result * tf.cast(ids != 0, tf.int64)


def _joined(parts: list[tf.Tensor], axis: int) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=axis)


def out_of_range(inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], features: Mapping[str, Any]) -> str:
    """The first feature with such an id, in words; "" if there is none.

    Args:
      inputs: the features.
      table_sizes: ids of each vocabulary, 0 included.
      features: the batch, in eager mode.
    """
    for item in inputs:
        if item.vocabulary is None or item.name not in features:
            continue
        value, size = features[item.name], table_sizes[item.vocabulary]
        ids = np.asarray(getattr(value, "flat_values", value))
        wrong = ids[(ids < 0) | (ids >= size)]
        if wrong.size:
            return (
                f"feature {item.name!r} has the id {wrong[0]}; expected 0 to {size - 1}, the ids of its vocabulary "
                f"{item.vocabulary!r}; transform the data with the model's own vocabulary"
            )
    return ""
