"""Embedding tables, one a space, and the vectors and linear terms that the fields of a batch read from them."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.lookup import distinct_rows, look_up, mean_of_lists, repeat_rows
from transforms.features import ModelInput, Shape

EMBEDDING_STDDEV = 1e-4
"""As DeepCTR and FuxiCTR have it: Adam's steps do not depend on the scale of the start, and a rare id,
updated only a few times, keeps saying next to nothing."""

_RANKS = {Shape.SCALAR: 1, Shape.RAGGED: 2, Shape.CANDIDATES: 2}
_Sides = list[tf.Tensor]
"""Embeddings `[..., F, D]` and, unless left out, linear terms `[..., F, 1]` of some fields."""


@keras.utils.register_keras_serializable(package="consort")
class FieldEmbeddings(keras.layers.Layer):
    """Turns the features of a batch into one vector and one linear weight a field.

    A field with id x reads the row x of its space's table `[V, D + 1]`: the embedding and the linear
    weight side by side, so that both cost one lookup. All fields of a space are looked up together,
    each distinct id once. Id 0 is missing or padding: it reads zeros and gets no gradient. A list
    (history) reads the mean over its real ids, zeros if it has none. A number x of field i reads x v_i
    and x w_i, with v_i and w_i learned; a list of numbers counts as its mean.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them. Others in a batch are ignored.
      table_sizes: V of each space, id 0 included.
      embedding_dim: D.
      linear: False leaves the linear weights out.
      embedding_l2: adds `embedding_l2 / 2 * sum of squares` over the distinct rows that a training
        batch looks up (never the whole table) and over the vectors of the numeric fields.
      seed: of the initial embeddings, N(0, 1e-4^2); linear weights start at 0.

    Call arguments:
      features: by name: int64 ids or float32 numbers, `[B]`, lists as `tf.RaggedTensor` `[B, (N)]`,
        candidates `[B, M]`.
      training: True adds the L2 term, and gives each table a gradient of one row a distinct id.

    Output shape:
      embeddings `[B, F, D]` and linear terms `[B, F]` (None without `linear`); with any candidate
      field `[B, M, F, D]` and `[B, M, F]`, where what all candidates share is repeated. Fields stand
      in the order of `field_names`: candidate fields last; within that by space, then as declared.

    Raises:
      ValueError: a space has no size; a batch misses a feature or has it in another shape.
      tf.errors.InvalidArgumentError: an id lies outside its table (on CPU; a GPU reads zeros).
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        embedding_dim: int,
        linear: bool = True,
        embedding_l2: float = 0.0,
        seed: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.inputs = tuple(ModelInput.model_validate(item) for item in inputs)
        if not self.inputs:
            raise ValueError("inputs is empty; expected at least one feature; declare features in the FeatureSet")
        spaces = dict.fromkeys(item.space for item in self.inputs)
        self.table_sizes = {space: _checked_size(space, table_sizes) for space in spaces if space is not None}
        self.embedding_dim, self.linear, self.embedding_l2, self.seed = embedding_dim, linear, embedding_l2, seed
        self._spaces = tuple(spaces)
        self._has_candidates = any(item.shape is Shape.CANDIDATES for item in self.inputs)
        self.tables: dict[str, tf.Variable] = {}

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields in the order of the output's axis F."""
        shared = [(space, shape) for space in self._spaces for shape in (Shape.SCALAR, Shape.RAGGED)]
        candidates = [(space, Shape.CANDIDATES) for space in self._spaces]
        return tuple(item.name for key in shared + candidates for item in self._fields(*key))

    def _fields(self, space: str | None, shape: Shape) -> tuple[ModelInput, ...]:
        return tuple(item for item in self.inputs if item.space == space and item.shape is shape)

    def build(self, input_shape: Any) -> None:
        for space, size in self.table_sizes.items():
            self.tables[space] = self._add_rows(f"table/{space}", size, zero_rows=1)
        if None in self._spaces:
            count = sum(item.space is None for item in self.inputs)
            self.number_vectors = self._add_rows("number_vectors", count, zero_rows=0)
        super().build(input_shape)

    def _add_rows(self, name: str, count: int, zero_rows: int) -> tf.Variable:
        # Each table draws from its name, so that adding a space leaves the others' start as it was.
        seed = [self.seed, zlib.crc32(name.encode()) & 0x7FFFFFFF]

        def initial(shape: Any, dtype: Any = None, **_: Any) -> tf.Tensor:
            drawn = [count - zero_rows, self.embedding_dim]
            embeddings = tf.random.stateless_normal(drawn, seed, stddev=EMBEDDING_STDDEV, dtype=dtype)
            return tf.pad(embeddings, [[zero_rows, 0], [0, int(self.linear)]])

        shape = [count, self.embedding_dim + int(self.linear)]
        return self.add_weight(name=name, shape=shape, initializer=initial)

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor | None]:
        self._check(features)
        shared: list[_Sides] = []
        candidates: list[_Sides] = []
        for space in self._spaces:
            found = self._numbers(features) if space is None else self._embedded(space, features, bool(training))
            for shape, sides in found.items():
                (candidates if shape is Shape.CANDIDATES else shared).append(sides)
        if training and None in self._spaces:
            self._penalise(self.number_vectors)
        outputs = [
            _assembled([sides[k] for sides in shared], [sides[k] for sides in candidates])
            for k in range(1 + int(self.linear))
        ]
        return outputs[0], tf.squeeze(outputs[1], -1) if self.linear else None

    def _embedded(self, space: str, features: Mapping[str, Any], training: bool) -> dict[Shape, _Sides]:
        """Looks all ids of a space up at once, and gives each shape its own."""
        stacks = self._stacks(space, features)
        ids = [tf.cast(tf.reshape(stack.values, [-1]), tf.int64) for stack in stacks.values()]
        sides = self._look_up(self.tables[space], tf.concat(ids, axis=0), training)
        sizes = [tf.size(part) for part in ids]
        pieces = [tf.split(side, sizes) if len(sizes) > 1 else [side] for side in sides]
        return {
            shape: [stack.arranged(piece[k], stack.values != 0) for piece in pieces]
            for k, (shape, stack) in enumerate(stacks.items())
        }

    def _look_up(self, table: tf.Variable, ids: tf.Tensor, training: bool) -> _Sides:
        """Embeddings `[N, D]` and linear weights `[N, 1]` of ids `[N]`."""
        widths = [self.embedding_dim, 1] if self.linear else [self.embedding_dim]
        if not training:
            return list(tf.split(look_up(table, ids), widths, axis=1))
        rows, positions = distinct_rows(table, ids)
        self._penalise(rows)
        # Split before repeating: there are fewer distinct rows than ids.
        return [repeat_rows(side, positions) for side in tf.split(rows, widths, axis=1)]

    def _numbers(self, features: Mapping[str, Any]) -> dict[Shape, _Sides]:
        """Each number times the vector and the weight of its field."""
        stacks = self._stacks(None, features)
        vectors = tf.split(tf.cast(self.number_vectors, self.compute_dtype), [s.num_fields for s in stacks.values()])
        found = {}
        for (shape, stack), learned in zip(stacks.items(), vectors, strict=True):
            flat = tf.reshape(tf.cast(stack.values, self.compute_dtype), [-1, 1])
            products = stack.arranged(flat, tf.ones_like(stack.values, tf.bool)) * learned
            found[shape] = [products[..., : self.embedding_dim], products[..., self.embedding_dim :]]
        return found

    def _stacks(self, space: str | None, features: Mapping[str, Any]) -> dict[Shape, "_Stack"]:
        fields = {shape: self._fields(space, shape) for shape in Shape}
        return {shape: _Stack(shape, items, features) for shape, items in fields.items() if items}

    def _penalise(self, rows: tf.Tensor) -> None:
        if self.embedding_l2:
            self.add_loss(self.embedding_l2 / 2 * tf.reduce_sum(tf.square(tf.cast(rows, tf.float32))))

    def _check(self, features: Mapping[str, Any]) -> None:
        for item in self.inputs:
            if item.name not in features:
                raise ValueError(
                    f"the batch has no feature {item.name!r}; received {', '.join(sorted(features))}; "
                    "give every feature that the model declares, or drop it from the FeatureSet"
                )
            value = features[item.name]
            is_ragged = isinstance(value, tf.RaggedTensor)
            if is_ragged != (item.shape is Shape.RAGGED) or value.shape.rank not in (None, _RANKS[item.shape]):
                raise ValueError(
                    f"feature {item.name!r} is {'ragged' if is_ragged else 'dense'} of shape {value.shape}; "
                    f"expected {item.shape.value} values: [B], ragged [B, (N)] or [B, M]; declare the column as it is"
                )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "inputs": [item.model_dump(mode="json") for item in self.inputs],
            "table_sizes": dict(self.table_sizes),
            "embedding_dim": self.embedding_dim,
            "linear": self.linear,
            "embedding_l2": self.embedding_l2,
            "seed": self.seed,
        }


class _Stack:
    """The values of all fields of one space and one shape in a batch.

    `values` is `[B, F]` for scalars, `[B, M, F]` for candidates, `[T]` for the elements of all lists.
    """

    def __init__(self, shape: Shape, fields: tuple[ModelInput, ...], features: Mapping[str, Any]):
        self.num_fields = len(fields)
        self._lists: tf.Tensor | None = None
        if shape is not Shape.RAGGED:
            axis = 1 if shape is Shape.SCALAR else 2
            self.values = tf.stack([tf.convert_to_tensor(features[item.name]) for item in fields], axis=axis)
            return
        rows = [_last(features[item.name], item.max_length) for item in fields]
        self.values = tf.concat([row.values for row in rows], axis=0)
        # List k of record b is list b * F + k, so that the means stand in the order [B, F].
        owners = [row.value_rowids() * self.num_fields + k for k, row in enumerate(rows)]
        self._lists = tf.concat(owners, axis=0)
        self._num_lists = rows[0].nrows() * self.num_fields

    def arranged(self, flat: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """What was found for each value, `[N, W]`, as `[B, F, W]` or `[B, M, F, W]`; lists as means."""
        width = flat.shape[-1]
        if self._lists is not None:
            means = mean_of_lists(flat, real, self._lists, self._num_lists)
            return tf.reshape(means, [-1, self.num_fields, width])
        if self.values.shape.rank == 2:
            return tf.reshape(flat, [-1, self.num_fields, width])
        return tf.reshape(flat, tf.concat([tf.shape(self.values), [width]], axis=0))


def _last(lists: tf.RaggedTensor, max_length: int | None) -> tf.RaggedTensor:
    return lists if max_length is None else lists[:, -max_length:]


def _assembled(shared: list[tf.Tensor], candidates: list[tf.Tensor]) -> tf.Tensor:
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


def _joined(parts: list[tf.Tensor], axis: int) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=axis)


def _checked_size(space: str, table_sizes: Mapping[str, int]) -> int:
    if space not in table_sizes:
        raise ValueError(
            f"space {space!r} has no table size; received sizes of {', '.join(sorted(table_sizes)) or 'none'}; "
            "give the size of every space that an input names"
        )
    if table_sizes[space] < 2:
        raise ValueError(
            f"space {space!r} has size {table_sizes[space]}; expected at least 2: id 0 is padding; "
            "count the vocabulary, its out-of-vocabulary buckets and 1"
        )
    return int(table_sizes[space])
