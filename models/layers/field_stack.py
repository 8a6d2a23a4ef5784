"""The values of many fields of one shape, as one tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from models.layers.lookup import mean_of_lists
from models.layers.padded_lists import last_elements
from transforms.features import ModelInput, Shape


class FieldStack:
    """The values of all fields of one shape in a batch, ids or numbers.

    Args:
      shape: of the fields.
      fields: in the order wanted.
      features: the batch.
      rows: for ids: `(first, size)` of each field's part of the table; None for numbers.

    `values` is `[B, F]` for scalars, `[B, M, F]` for candidates, `[T]` for the elements of all lists,
    `[B, N, F]` for lists that come dense. Ids
    have become rows of the table: 0 for id 0, `out_of_range` for what lies outside the field's part.
    """

    def __init__(
        self,
        shape: Shape,
        fields: Sequence[ModelInput],
        features: Mapping[str, Any],
        rows: Sequence[tuple[int, int]] | None = None,
        out_of_range: int = 0,
    ):
        self.num_fields = len(fields)
        self._lists: tf.Tensor | None = None
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
            values = [_rows_of(part, tf.constant(own, tf.int64), out_of_range) for part, own in zip(values, rows)]
        self.values = tf.concat(values, axis=0)
        # List k of record b is list b * F + k, so that the means stand in the order [B, F].
        owners = [part.value_rowids() * self.num_fields + k for k, part in enumerate(lists)]
        self._lists = tf.concat(owners, axis=0)
        self._num_lists = lists[0].nrows() * self.num_fields

    def arranged(self, flat: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """What was found for each value, `[N, W]`, as `[B, F, W]` or `[B, M, F, W]`; lists as means."""
        width = flat.shape[-1]
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
    own = _joined(candidates, axis=2)
    if not shared:
        return own
    common = _joined(shared, axis=1)[:, tf.newaxis]
    sizes = tf.concat([tf.shape(own)[:2], tf.shape(common)[2:]], axis=0)
    repeated = tf.ensure_shape(tf.broadcast_to(common, sizes), [None, own.shape[1], *common.shape[2:]])
    return tf.concat([repeated, own], axis=2)


def _rows_of(ids: tf.Tensor, rows: tf.Tensor, out_of_range: int) -> tf.Tensor:
    """Ids `[..., F]` (or `[T]` of one field) as rows of the table."""
    ids = tf.cast(ids, tf.int64)
    first, size = rows[..., 0], rows[..., 1]
    found = tf.where((ids >= 0) & (ids < size), ids + first, out_of_range)
    return found * tf.cast(ids != 0, tf.int64)


def _joined(parts: list[tf.Tensor], axis: int) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=axis)
