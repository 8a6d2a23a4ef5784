"""The signatures of an exported two-tower model: a user's vector, an item's, and the best items for a user."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from models.retrieval.tower_model import ScaledProduct, TowerModel
from serving.catalogue import Catalogue, item_columns, user_columns
from serving.contract import inputs_of
from serving.exact_search import ExactSearch, ProductSearch, WholeSearch
from serving.item_places import ItemPlaces
from serving.item_vectors import digest_of
from serving.requests import padding_of
from serving.signatures import request_columns
from transforms.errors import InputError
from transforms.features import CANDIDATE, ITEM_ID, Column, FeatureSet, RecordKind, Shape
from transforms.schema import tf_dtype

USER, ITEM, RETRIEVE = "user_embedding", "item_embedding", "retrieve"
EMBEDDING, K, EXCLUDE, SCORE = "embedding", "k", "exclude", "score"
DEFAULT_K = 100
"""Items that `retrieve` gives if it is not told how many; of a smaller catalogue all."""
_BULK = 4096

Embed = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


class Retrieval(tf.Module):
    """The items by their ids, and the best of them that a user has not asked to leave out.

    Args:
      ids: `[N]`.
      search: over the vectors of the same items.
      missing: the marker that pads ids.
    """

    def __init__(self, ids: np.ndarray, search: ExactSearch, missing: bytes | int):
        super().__init__(name="retrieval")
        self.search, self._missing = search, missing
        self.ids = tf.Variable(tf.constant(ids.tolist(), tf.string if ids.dtype == object else tf.int64), False)
        self.default_k, self._places = min(DEFAULT_K, len(ids)), ItemPlaces(ids)

    def answer(self, users: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """`item_id` and `score`, `[B, k]`; where too few items are left, the missing marker and minus infinity.

        Args:
          users: `[B, ...]`.
          k: 1 to N; anything else ends the call with INVALID_ARGUMENT.
          exclude: ids `[B, E]`, padded with the missing marker; or `[1, E]`, for all users.
        """
        with tf.control_dependencies(_checks(users, k, exclude, self.search.items)):
            fetched = tf.minimum(k + tf.shape(exclude)[1], self.search.items)
        found, logits = self.search.best(users, fetched)
        # Places are compared, not ids: a user may have a thousand to leave out, and text is compared slowly.
        unwanted = self._places.of(exclude, self.ids)
        left_out = tf.reduce_any(found[:, :, tf.newaxis] == unwanted[:, tf.newaxis, :], axis=2)
        scores, order = tf.math.top_k(tf.where(left_out, float("-inf"), logits), k)
        ids = tf.gather(self.ids, tf.gather(found, order, batch_dims=1))
        ids = tf.where(tf.gather(left_out, order, batch_dims=1), tf.constant(self._missing, ids.dtype), ids)
        return {ITEM_ID: ids, SCORE: scores}


def _checks(users: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor, items: int) -> list[tf.Operation]:
    lists, batch = tf.shape(exclude)[0], tf.shape(users)[0]
    range_of_k = f"; expected 1 to {items}, the items of the catalogue; ask for so many"
    fix = "; expected as many as there are users, or 1 for all; pad them with the missing marker"
    return [
        tf.debugging.Assert((k >= 1) & (k <= items), ["k: received", k, range_of_k]),
        tf.debugging.Assert((lists == batch) | (lists == 1), ["exclude: received", lists, "lists", fix]),
    ]


class ServedTowers(tf.Module):
    """Both towers of a model behind its trained preprocessing, and the catalogue.

    A tower gets the raw columns of its own side alone; the other side's are missing: ids 0, empty histories.

    Args:
      model: trained.
      features: raw columns, as a request has them, to the model's inputs: `ServedModel.features`.
      feature_set, record: as trained.
      catalogue: the items; None leaves `retrieve` out.

    Raises:
      InputError: no feature is of a user or of the context, a column of theirs has the name of an input of `retrieve`,
        or the catalogue lacks a column.
    """

    def __init__(
        self,
        model: TowerModel,
        features: Callable[[Mapping[str, Any]], dict[str, Any]],
        feature_set: FeatureSet,
        record: RecordKind,
        catalogue: Catalogue | None = None,
    ):
        super().__init__(name="served_towers")
        self._to_inputs, self._columns, self._record = features, request_columns(feature_set, record), record
        self._user_columns, self._item_columns = user_columns(feature_set), item_columns(feature_set)
        if not self._user_columns:
            fix = "keep a feature of the user in the FeatureSet"
            raise InputError("feature set", "no feature of a user", "some to tell users apart", fix)
        if catalogue is not None:
            _check_names(self._user_columns)
        self._embed_user: Embed = partial(self._embedding, model.user_embedding)
        embed_item: Embed = partial(self._embedding, model.item_embedding)
        self._functions = {
            USER: _on_columns(self._embed_user, self._user_columns),
            ITEM: _on_columns(embed_item, self._item_columns),
        }
        self.retrieval: Retrieval | None = None
        if catalogue is not None:
            self.item_vectors = self._in_bulk(catalogue, self._item_columns)
            marker: Any = padding_of(feature_set.column(ITEM_ID))
            self.retrieval = Retrieval(catalogue.ids, _search_of(model, self.item_vectors), marker)
            self._missing = marker.decode() if isinstance(marker, bytes) else str(marker)
            self._sha256 = digest_of(catalogue.ids, self.item_vectors)

    def embed_users(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """What the user's tower gives for raw columns, by the function that is served."""
        return self._functions[USER](raw)[EMBEDDING]

    def signatures(self) -> dict[str, Any]:
        """By name: `user_embedding`, `item_embedding`, and `retrieve` where there is a catalogue."""
        found = dict(self._functions)
        if self.retrieval is not None:
            found[RETRIEVE] = self._retrieve(self.retrieval)
        traced = {name: function.get_concrete_function() for name, function in found.items()}
        self._variables = list(
            {id(variable): variable for one in traced.values() for variable in one.graph.variables}.values()
        )
        # Of a traced function the saver does not see the defaults.
        return {**traced, RETRIEVE: found[RETRIEVE]} if RETRIEVE in found else traced

    def contract(self) -> dict[str, Any]:
        """What contract.json tells besides: the signatures and, as `retrieval`, the catalogue."""
        told: dict[str, Any] = {}
        for name, columns in ((USER, self._user_columns), (ITEM, self._item_columns)):
            shape = self._functions[name].get_concrete_function().structured_outputs[EMBEDDING].shape
            output = {"dtype": "float", "shape": ["B", *shape[1:]]}
            told[name] = {"inputs": inputs_of(columns, "row"), "outputs": {EMBEDDING: output}}
        if self.retrieval is None:
            return {"signatures": told}
        ids = "string" if self.retrieval.ids.dtype == tf.string else "int64"
        told[RETRIEVE] = {
            "inputs": {
                **told[USER]["inputs"],
                K: {"dtype": "int32", "shape": [], "default": self.retrieval.default_k},
                EXCLUDE: {"dtype": ids, "shape": ["B", "E"], "default": "none", "missing": self._missing},
            },
            "outputs": {
                ITEM_ID: {"dtype": ids, "shape": ["B", K]},
                SCORE: {"dtype": "float", "shape": ["B", K], "content": "the logit"},
            },
            "limits": {K: self.retrieval.search.items},
        }
        retrieval = {
            "items": self.retrieval.search.items,
            "vector_shape": list(self.item_vectors.shape[1:]),
            "similarity": self.retrieval.search.told(),
            "sha256": self._sha256,
        }
        return {"signatures": told, "retrieval": retrieval}

    def _retrieve(self, retrieval: Retrieval) -> Any:
        ids = retrieval.ids.dtype
        specs = [_specs(self._user_columns), _spec(K, [], tf.int32), _spec(EXCLUDE, [None, None], ids)]

        @tf.function(input_signature=specs, autograph=False)
        def retrieve(
            raw: dict[str, tf.Tensor],
            k: tf.Tensor = tf.constant(retrieval.default_k),  # noqa: B008 - becomes the signature's default
            exclude: tf.Tensor = tf.zeros([1, 0], ids),  # noqa: B008 - the same
        ) -> dict[str, tf.Tensor]:
            return retrieval.answer(self._embed_user(raw)[EMBEDDING], k, exclude)

        return retrieve

    def _embedding(self, tower: Callable[..., tf.Tensor], raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {EMBEDDING: tf.cast(tower(self._features(raw)), tf.float32)}

    def _features(self, raw: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """The model's inputs for one item a record, from one side's columns."""
        batch, whole = tf.shape(next(iter(raw.values())))[0], {}
        sizes = {Shape.SCALAR: [batch], Shape.RAGGED: [batch, 0], Shape.CANDIDATES: [batch, 1]}
        for column in self._columns:
            shape = column.shape(self._record)
            if column.name in raw:
                values = raw[column.name]
                whole[column.name] = values[:, tf.newaxis] if shape is Shape.CANDIDATES else values
            else:
                value = 1 if column.name == CANDIDATE else padding_of(column)
                whole[column.name] = tf.fill(sizes[shape], tf.constant(value, tf_dtype(column)))
            if shape is Shape.CANDIDATES:
                # The transform says that there are as many candidates as it was learned on.
                whole[column.name] = tf.compat.v1.placeholder_with_default(whole[column.name], [None, None])
        return self._to_inputs(whole)

    def _in_bulk(self, catalogue: Catalogue, columns: tuple[Column, ...]) -> np.ndarray:
        """Vectors of all items, by the function that is served."""
        if missing := [column.name for column in columns if column.name not in catalogue.columns]:
            fix = "make the catalogue with `catalogue_of` and the model's own feature set"
            raise InputError("catalogue", f"no column {', '.join(missing)}", "all that the item's tower reads", fix)
        parts = []
        for start in range(0, len(catalogue), _BULK):
            raw = {
                column.name: tf.constant(catalogue.columns[column.name][start : start + _BULK], tf_dtype(column))
                for column in columns
            }
            parts.append(self._functions[ITEM](raw)[EMBEDDING].numpy())
        vectors: np.ndarray = np.concatenate(parts)
        return vectors


def _check_names(columns: tuple[Column, ...]) -> None:
    for column in columns:
        if column.name in (K, EXCLUDE):
            expected = f"other names than {K} and {EXCLUDE}, which are inputs of `{RETRIEVE}` themselves"
            fix = "give the column another name in the source's declaration, and import the data again"
            raise InputError("feature set", f"a user's column named {column.name!r}", expected, fix)


def _search_of(model: TowerModel, vectors: np.ndarray) -> ExactSearch:
    if not isinstance(model.similarity, ScaledProduct):
        return WholeSearch(vectors, model.similarity)
    one = tf.one_hot([[0]], vectors.shape[1])
    bias, more = (float(model.similarity((item[:, 0], item))[0, 0]) for item in (tf.zeros_like(one), one))
    return ProductSearch(vectors, model.similarity, more - bias, bias)


def _on_columns(embed: Embed, columns: tuple[Column, ...]) -> Any:
    return tf.function(embed, input_signature=[_specs(columns)], autograph=False)


def _specs(columns: tuple[Column, ...]) -> dict[str, tf.TensorSpec]:
    return {
        column.name: _spec(column.name, [None, None] if column.variable_length else [None], tf_dtype(column))
        for column in columns
    }


def _spec(name: str, shape: list[int | None], dtype: tf.DType) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)
