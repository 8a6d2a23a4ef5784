"""Embedding tables of one or several models, interleaved in one variable that is read once for all."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.layers.lookup import FieldStack, assembled, distinct_rows, look_up, out_of_range, repeat_rows
from models.layers.padded_lists import with_ragged_lists
from models.layers.replicas import replica_mean, shares
from models.layers.set_vectors import ROLES, SetVectors, roles_of, sets_of, with_dense_lists
from models.layers.table_start import TableStart
from transforms.features import ModelInput, Shape

L2Scope = Literal["batch", "table"]
FieldVectors = tuple[tf.Tensor, tf.Tensor | None]
"""Embeddings `[..., F, D]` and linear terms `[..., F]`, None without."""

_RANKS = {shape: len(shape.sizes("B", "M", "N", "W")) for shape in Shape}


@dataclass(frozen=True)
class EmbeddingPart:
    """The columns of one model in the table.

    Args:
      embedding_dim: D.
      linear: False leaves the linear weights out.
      embedding_l2: adds `embedding_l2 / 2 * sum of squares` to the loss.
      l2_scope: of which rows: `batch`, the distinct ones that a training batch looks up, and the vectors
        of the numeric fields; or `table`, all of them, which makes a step as slow as the table is large.
      seed: seed of the initial embeddings, N(0, 1e-4^2); linear weights start at 0.
    """

    embedding_dim: int
    linear: bool = True
    embedding_l2: float = 0.0
    l2_scope: L2Scope = "batch"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.embedding_dim < 1:
            raise ValueError(f"embedding_dim is {self.embedding_dim}; expected at least 1; give the vectors a width")
        if self.l2_scope not in ("batch", "table"):
            raise ValueError(f"l2_scope is {self.l2_scope!r}; expected 'batch' or 'table'; choose one")

    @property
    def width(self) -> int:
        """Columns of the table."""
        return self.embedding_dim + int(self.linear)


@keras.utils.register_keras_serializable(package="consort")
class InterleavedEmbeddings(keras.layers.Layer):
    """Looks a batch's ids up once for several models, and gives each model its own vectors.

    All vocabularies and all models share one table `[V, W]`. A vocabulary owns consecutive rows; a model owns
    columns, its D embedding weights and its linear weight: W is the sum of (D + 1) over the models. So
    each distinct id of a batch costs one random read, whatever the number of models, and one optimizer
    step moves all. Id 0 of any vocabulary is missing or padding: it reads row 0, which starts as zeros and
    gets no gradient. A list
    (history) reads the mean over its real ids, zeros if it has none. A number x of field i reads x v_i
    and x w_i, with v_i and w_i learned; a list of numbers counts as its mean. Of several ids with `width` the vectors,
    and the linear weights, are pooled to one; a vector x of numbers reads the products x V_i and x w_i, with the matrix
    V_i and the vector w_i learned: whatever its width, it is one field.

    It always computes in float32, as sums over the ids of a batch need it.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them. Others in a batch are ignored.
      table_sizes: V of each vocabulary, id 0 included.
      parts: one a model.

    Call arguments:
      features: by name: int64 ids or float32 numbers, `[B]`, lists as `tf.RaggedTensor` `[B, (N)]`, or padded at the
        end, `[B, N]` (see `with_ragged_lists`), candidates `[B, M]`; with `width` `[B, W]` or `[B, M, W]`.
      training: True adds the L2 term, and gives the table a gradient of one row a distinct id.
      as_sets: gives `SetVectors`, for which lists stay whole and nothing is repeated.

    Output shape:
      for each part embeddings `[B, F, D]` and linear terms `[B, F]` (None without `linear`); with any
      candidate field `[B, M, F, D]` and `[B, M, F]`, where what all candidates share is repeated.
      Fields stand in the order of `field_names`. With `as_sets` the `SetVectors` of each part.

    Raises:
      ValueError: a vocabulary has no size; a batch misses a feature or has it in another shape.
      tf.errors.InvalidArgumentError: an id lies outside its vocabulary (on CPU; a GPU reads zeros).
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        parts: Sequence[EmbeddingPart | Mapping[str, Any]],
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.inputs = tuple(ModelInput.model_validate(item) for item in inputs)
        if not self.inputs:
            raise ValueError("inputs is empty; expected at least one feature; declare features in the FeatureSet")
        self.parts = tuple(part if isinstance(part, EmbeddingPart) else EmbeddingPart(**part) for part in parts)
        if not self.parts:
            raise ValueError("parts is empty; expected one a model; give at least one")
        vocabularies = dict.fromkeys(item.vocabulary for item in self.inputs if item.vocabulary is not None)
        self.table_sizes = {vocabulary: _checked_size(vocabulary, table_sizes) for vocabulary in vocabularies}
        ends = list(accumulate(self.table_sizes.values(), initial=0))
        self.first_rows = dict(zip(self.table_sizes, ends, strict=False))
        self.num_rows = ends[-1]
        # All embeddings, then all linear weights: the latter travel as one piece.
        self._widths = [part.embedding_dim for part in self.parts]
        self._num_linear = sum(part.linear for part in self.parts)
        self._groups = _grouped(self.inputs)
        numbers = [item for (_, is_id), fields in self._groups.items() if not is_id for item in fields]
        ends = list(accumulate((item.width or 1 for item in numbers), initial=0))
        self.number_rows = {item.name: row for item, row in zip(numbers, ends, strict=False)}
        self.num_numbers = ends[-1]
        self.table: Any = None
        self.number_vectors: Any = None

    @property
    def row_width(self) -> int:
        """Width of the table, W."""
        return sum(part.width for part in self.parts)

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields in the order of the output's axis F: ids before numbers, candidates last."""
        order = sorted(self._groups, key=lambda key: key[0].per_candidate)
        return tuple(item.name for key in order for item in self._groups[key])

    def columns(self, part: int) -> list[int]:
        """Returns the columns of a part in the table: embeddings, then the linear weight."""
        first = sum(self._widths[:part])
        columns = list(range(first, first + self._widths[part]))
        if self.parts[part].linear:
            columns.append(sum(self._widths) + sum(other.linear for other in self.parts[:part]))
        return columns

    def build(self, input_shape: Any) -> None:
        if self.table_sizes:
            start = TableStart(self.parts, self.table_sizes)
            self.table = self.add_weight(name="table", shape=[self.num_rows, self.row_width], initializer=start)
        if self.num_numbers:
            start = TableStart(self.parts, {"number_vectors": self.num_numbers}, zero_rows=0)
            self.number_vectors = self.add_weight(
                name="number_vectors", shape=[self.num_numbers, self.row_width], initializer=start
            )
        super().build(input_shape)

    def call(
        self, features: Mapping[str, Any], training: bool | None = None, as_sets: bool = False
    ) -> list[FieldVectors] | list[SetVectors]:
        self._check(features)
        features, history_mask = with_ragged_lists(features, self.inputs), None
        if as_sets:
            features, history_mask = with_dense_lists(features, self.inputs)
        try:
            embedded = self._embedded(features, bool(training))
        except tf.errors.InvalidArgumentError as error:
            raise self._named(error, features) from error
        groups = [
            (self._groups[shape, is_id], sides)
            for is_id, kind in ((True, embedded), (False, self._numbers(features)))
            for shape, sides in kind.items()
        ]
        if training:
            self._penalize_tables()
        if as_sets:
            return self._sets(groups, features, history_mask)
        shared = [sides for fields, sides in groups if not fields[0].shape.per_candidate]
        candidates = [sides for fields, sides in groups if fields[0].shape.per_candidate]
        count = len(self._widths) + int(self._num_linear > 0)
        sides = [assembled([one[k] for one in shared], [one[k] for one in candidates]) for k in range(count)]
        return self._by_part(sides)

    def _named(self, error: tf.errors.InvalidArgumentError, features: Mapping[str, Any]) -> Exception:
        """The error of a lookup, with the feature whose id lies outside its vocabulary."""
        message = out_of_range(self.inputs, self.table_sizes, features) if tf.executing_eagerly() else ""
        return tf.errors.InvalidArgumentError(None, None, message) if message else error

    def _sets(
        self,
        groups: list[tuple[tuple[ModelInput, ...], list[tf.Tensor]]],
        features: Mapping[str, Any],
        history_mask: tf.Tensor | None,
    ) -> list[SetVectors]:
        roles, count = roles_of(self.inputs), len(self._widths)
        by_role: dict[str, list[list[tf.Tensor]]] = {role: [] for role in ROLES}
        for fields, sides in groups:
            for role in ROLES:
                places = [place for place, item in enumerate(fields) if roles[item.name] == role]
                if places:
                    all_fields = len(places) == len(fields)
                    by_role[role].append([s if all_fields else tf.gather(s, places, axis=-2) for s in sides[:count]])
        numbers = self._candidate_numbers(features, roles)
        sets = [
            sets_of(
                {role: [group[k] for group in groups] for role, groups in by_role.items()},
                width,
                features,
                history_mask,
                None if numbers is None else (numbers[0], numbers[1][k]),
            )
            for k, width in enumerate(self._widths)
        ]
        if not self._num_linear:
            return sets
        linear = iter(tf.unstack(self._linear_of_sets(groups, features, history_mask), axis=-1))
        chosen = zip(sets, self.parts, strict=True)
        return [one._replace(linear=next(linear)) if part.linear else one for one, part in chosen]

    def _linear_of_sets(
        self,
        groups: list[tuple[tuple[ModelInput, ...], list[tf.Tensor]]],
        features: Mapping[str, Any],
        history_mask: tf.Tensor | None,
    ) -> tf.Tensor:
        """Returns the sum of the linear terms of each candidate, `[B, M, models with such]`."""
        shared: list[tf.Tensor] = []
        candidates: list[tf.Tensor] = []
        for fields, sides in groups:
            terms = sides[-1]
            if fields[0].shape is Shape.RAGGED:
                # A list counts as the mean over its real elements.
                is_id = fields[0].vocabulary is not None
                real = tf.stack([features[item.name] != 0 if is_id else history_mask for item in fields], axis=-1)
                real = tf.cast(real, terms.dtype)[..., tf.newaxis]
                terms = tf.reduce_sum(terms * real, axis=1) / tf.maximum(tf.reduce_sum(real, axis=1), 1)
            (candidates if fields[0].shape.per_candidate else shared).append(tf.reduce_sum(terms, axis=-2))
        total: Any = tf.add_n(shared)[:, tf.newaxis] if shared else 0.0
        return total + tf.add_n(candidates) if candidates else total

    def _candidate_numbers(
        self, features: Mapping[str, Any], roles: Mapping[str, str]
    ) -> tuple[tf.Tensor, list[tf.Tensor]] | None:
        """Returns the candidates' numbers, `[..., S]`, and each part's vectors `[S, D]`; None if others stand last."""
        groups = [[item for item in fields if roles[item.name] == "candidates"] for fields in self._groups.values()]
        last = next(fields for fields in reversed(groups) if fields)
        if last[0].vocabulary is not None or last[0].width is not None:
            return None
        values = tf.stack([tf.cast(features[item.name], tf.float32) for item in last], axis=-1)
        vectors = tf.gather(tf.convert_to_tensor(self.number_vectors), [self.number_rows[item.name] for item in last])
        return values, tf.split(vectors, self._pieces(), axis=1)

    def _by_part(self, sides: list[tf.Tensor]) -> list[FieldVectors]:
        linear = iter(tf.unstack(sides[-1], axis=-1) if self._num_linear else ())
        return [(side, next(linear) if part.linear else None) for side, part in zip(sides, self.parts)]

    def _pieces(self) -> list[int]:
        return self._widths + ([self._num_linear] if self._num_linear else [])

    def _embedded(self, features: Mapping[str, Any], training: bool) -> dict[Shape, list[tf.Tensor]]:
        """Looks all ids up at once, and gives each shape its own."""
        groups = {shape: fields for (shape, is_id), fields in self._groups.items() if is_id}
        if not groups:
            return {}
        parts = {name: (first, self.table_sizes[name]) for name, first in self.first_rows.items()}
        stacks = {
            shape: FieldStack(shape, fields, features, [parts[str(item.vocabulary)] for item in fields], self.num_rows)
            for shape, fields in groups.items()
        }
        rows = [tf.reshape(stack.values, [-1]) for stack in stacks.values()]
        sides = self._look_up(rows[0] if len(rows) == 1 else tf.concat(rows, axis=0), training)
        sizes = [tf.size(part) for part in rows]
        pieces = [tf.split(side, sizes) if len(sizes) > 1 else [side] for side in sides]
        return {
            shape: [stack.arranged(piece[k], stack.values != 0) for piece in pieces]
            for k, (shape, stack) in enumerate(stacks.items())
        }

    def _look_up(self, ids: tf.Tensor, training: bool) -> list[tf.Tensor]:
        """Embeddings `[N, D]` of each part and the linear weights `[N, parts]` of ids `[N]`."""
        if not training:
            return list(tf.split(look_up(self.table, ids), self._pieces(), axis=1))
        rows, positions, distinct = distinct_rows(self.table, ids)
        self._penalize(rows, "batch", distinct)
        return repeat_rows(rows, positions, self._pieces())

    def _numbers(self, features: Mapping[str, Any]) -> dict[Shape, list[tf.Tensor]]:
        """Each number, or vector of numbers, times the vectors and the weights of its field."""
        groups = {shape: fields for (shape, is_id), fields in self._groups.items() if not is_id}
        if not groups:
            return {}
        sizes = [sum(item.width or 1 for item in fields) for fields in groups.values()]
        learned = tf.split(tf.convert_to_tensor(self.number_vectors), sizes)
        result = {}
        for (shape, fields), vectors in zip(groups.items(), learned, strict=True):
            if fields[0].width is not None:
                each = zip(fields, tf.split(vectors, [item.width for item in fields]), strict=True)
                products = tf.stack(
                    [tf.tensordot(tf.cast(features[item.name], tf.float32), part, 1) for item, part in each], -2
                )
                result[shape] = list(tf.split(products, self._pieces(), axis=-1))
                continue
            stack = FieldStack(shape, fields, features)
            flat = tf.reshape(tf.cast(stack.values, tf.float32), [-1, 1])
            values = stack.arranged(flat, tf.ones_like(stack.values, tf.bool))
            # Piece by piece, so that one that no model reads is not computed in a graph.
            result[shape] = [values * piece for piece in tf.split(vectors, self._pieces(), axis=-1)]
        return result

    def _penalize_tables(self) -> None:
        if self.number_vectors is not None:
            for scope in ("batch", "table"):
                self._penalize(self.number_vectors, scope)
        if self.table is not None:
            self._penalize(self.table, "table")

    def _penalize(self, rows: Any, scope: str, distinct: tf.Tensor | None = None) -> None:
        """Adds the L2 term of some rows; those of `distinct` ids may be other replicas' too."""
        strengths = np.zeros(self.row_width, np.float32)
        for index, part in enumerate(self.parts):
            if part.l2_scope == scope:
                strengths[self.columns(index)] = part.embedding_l2
        if strengths.any():
            squares = tf.square(tf.convert_to_tensor(rows))
            share = None if distinct is None else shares(distinct)
            if share is not None:
                squares *= share[:, tf.newaxis]
            self.add_loss(replica_mean(tf.reduce_sum(tf.reduce_sum(squares, axis=0) * strengths) / 2))

    def _check(self, features: Mapping[str, Any]) -> None:
        for item in self.inputs:
            if item.name not in features:
                raise ValueError(
                    f"the batch has no feature {item.name!r}; received {', '.join(sorted(features))}; "
                    "give every feature that the model declares, or drop it from the FeatureSet"
                )
            value = features[item.name]
            is_ragged = isinstance(value, tf.RaggedTensor)
            # Lists may also be dense: see `with_ragged_lists`.
            fits = item.shape is Shape.RAGGED or not is_ragged
            fits = fits and value.shape.rank in (None, _RANKS[item.shape])
            if fits and item.width is not None:
                fits = value.shape.rank is None or value.shape[-1] in (None, item.width)
            if not fits:
                sizes = ", ".join(item.shape.sizes("B", "M", "(N)", str(item.width)))
                raise ValueError(
                    f"feature {item.name!r} is {'ragged' if is_ragged else 'dense'} of shape {value.shape}; "
                    f"expected {item.shape.value} [{sizes}]; declare the column as it is"
                )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "inputs": [item.model_dump(mode="json") for item in self.inputs],
            "table_sizes": dict(self.table_sizes),
            "parts": [asdict(part) for part in self.parts],
        }


def _grouped(inputs: Sequence[ModelInput]) -> dict[tuple[Shape, bool], tuple[ModelInput, ...]]:
    """Fields by shape and kind (True: ids), ids first."""
    keys = [(shape, is_id) for is_id in (True, False) for shape in Shape]
    groups = {key: tuple(item for item in inputs if (item.shape, item.vocabulary is not None) == key) for key in keys}
    return {key: fields for key, fields in groups.items() if fields}


def _checked_size(vocabulary: str, table_sizes: Mapping[str, int]) -> int:
    if vocabulary not in table_sizes:
        raise ValueError(
            f"vocabulary {vocabulary!r} has no table size; received sizes of "
            f"{', '.join(sorted(table_sizes)) or 'none'}; give the size of every vocabulary that an input names"
        )
    if table_sizes[vocabulary] < 2:
        raise ValueError(
            f"vocabulary {vocabulary!r} has size {table_sizes[vocabulary]}; expected at least 2: id 0 is padding; "
            "count the vocabulary, its out-of-vocabulary buckets and 1"
        )
    return int(table_sizes[vocabulary])
