"""The signatures of an exported two-tower model: a user's vector, an item's, and the best items for a user."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from models.retrieval.tower_model import ScaledProduct, TowerModel
from serving.export.contract import inputs_of
from serving.export.request_tensors import Check, TensorFunction, all_valid
from serving.export.signatures import request_columns
from serving.retrieval.catalogue import Catalogue, item_columns, user_columns
from serving.retrieval.item_vectors import digest_of
from serving.retrieval.search import ExactSearch, ItemPlaces, ProductSearch, WholeSearch
from transforms.errors import InputError
from transforms.features import (
    CANDIDATE,
    COUNT,
    ITEM_ID,
    UNKNOWN_LENGTH,
    Column,
    FeatureSet,
    RecordKind,
    Shape,
    with_lengths,
)
from transforms.schema import tf_dtype

USER, ITEM, RETRIEVE = "user_embedding", "item_embedding", "retrieve"
EMBEDDING, K, EXCLUDE, SCORE = "embedding", "k", "exclude", "score"
EXCLUDE_COUNT = f"{EXCLUDE}{COUNT}"
DEFAULT_K = 100
"""Items that `retrieve` returns by default; all of a smaller catalogue."""
_BULK = 4096

Embed = Callable[[dict[str, Any]], dict[str, tf.Tensor]]


class Retrieval(tf.Module):
    """The items by id, and the best of them for a user, without excluded ones.

    Args:
      ids: `[N]`.
      search: over the vectors of the same items.
      missing: the marker that pads ids.
    """

    def __init__(self, ids: np.ndarray, search: ExactSearch, missing: bytes | int):
        super().__init__(name="retrieval")
        self.search, self.missing = search, missing
        self.ids = tf.Variable(tf.constant(ids.tolist(), tf.string if ids.dtype == object else tf.int64), False)
        self.default_k, self._places = min(DEFAULT_K, len(ids)), ItemPlaces(ids)

    def answer(
        self, users: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor, count: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """`item_id` and `score`, `[B, K]`, K the largest k of a user.

        Where a user's k is smaller, or too few items are left, the missing marker and minus infinity fill up.

        Args:
          users: `[B, ...]`.
          k: `[B]`, `[1]` or a single number for all; 1 to N, anything else ends the call with INVALID_ARGUMENT.
          exclude: ids `[B, E]`, padded with the missing marker; or `[1, E]`, for all users.
          count: int64 `[B]` or `[1]`, ids to exclude of each user, what follows is padding; -1 or None: all.
        """
        each = tf.reshape(k, [-1])
        count = tf.constant([UNKNOWN_LENGTH], tf.int64) if count is None else count
        checks = _checks(users, each, exclude, count, self.search.items)
        with tf.control_dependencies([all_valid(tf.reduce_all([valid for valid, _ in checks]), lambda: checks)]):
            # Of no user there is no largest one.
            largest = tf.maximum(tf.reduce_max(each), 1)
        width = tf.shape(exclude, tf.int64)[1]
        sent = tf.range(width) < tf.where(count < 0, width, count)[:, tf.newaxis]
        exclude = tf.where(sent, exclude, tf.constant(self.missing, exclude.dtype))
        positions, logits = self.search.best(users, tf.minimum(largest + tf.shape(exclude)[1], self.search.items))
        # Places are compared, not ids: a user may have a thousand to leave out, and text is compared slowly.
        unwanted = self._places.of(exclude, self.ids)
        excluded = tf.reduce_any(positions[:, :, tf.newaxis] == unwanted[:, tf.newaxis, :], axis=2)
        scores, order = tf.math.top_k(tf.where(excluded, float("-inf"), logits), largest)
        ids = tf.gather(self.ids, tf.gather(positions, order, batch_dims=1))
        nothing = tf.gather(excluded, order, batch_dims=1) | (tf.range(largest) >= each[:, tf.newaxis])
        ids = tf.where(nothing, tf.constant(self.missing, ids.dtype), ids)
        return {ITEM_ID: ids, SCORE: tf.where(nothing, float("-inf"), scores)}


def _checks(users: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor, count: tf.Tensor, items: int) -> list[Check]:
    batch = tf.shape(users)[0]
    wrong = (k < 1) | (k > items)

    def range_of_k() -> tf.Tensor:
        expected = f"; expected 1 to {items}, the items of the catalogue; lower it"
        return tf.strings.join(
            ["k: received ", tf.strings.reduce_join(tf.strings.as_string(tf.boolean_mask(k, wrong)[:1])), expected]
        )

    def for_each(name: str, size: tf.Tensor, fix: str) -> Check:
        def words() -> tf.Tensor:
            received = [f"input {name}: received batch size ", tf.strings.as_string(size)]
            expected = ["; expected as many as there are users, ", tf.strings.as_string(batch), f", or 1 for all{fix}"]
            return tf.strings.join([*received, *expected])

        return (size == batch) | (size == 1), words

    return [
        (~tf.reduce_any(wrong), range_of_k),
        for_each(K, tf.size(k), ""),
        for_each(EXCLUDE, tf.shape(exclude)[0], "; pad them with the missing marker"),
        for_each(EXCLUDE_COUNT, tf.size(count), ""),
    ]


class ServedTowers(tf.Module):
    """Both towers of a model behind its trained preprocessing, and the catalogue.

    A tower gets the raw columns of its own side alone; the other side's are missing: ids 0, empty histories.

    Args:
      model: trained.
      features: raw columns, lists ragged, to the model's inputs: `ServedModel.features`.
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
        # A row each: a user has no candidates here, and an item is one.
        self._functions = {
            USER: TensorFunction(self._user_columns, "row", self._embed_user),
            ITEM: TensorFunction(self._item_columns, "row", embed_item),
        }
        self.retrieval: Retrieval | None = None
        if catalogue is not None:
            self.item_vectors = self._in_bulk(catalogue, self._item_columns)
            marker: Any = feature_set.column(ITEM_ID).marker
            self.retrieval = Retrieval(catalogue.ids, _search_of(model, self.item_vectors), marker)
            self._missing = marker.decode() if isinstance(marker, bytes) else str(marker)
            self._sha256 = digest_of(catalogue.ids, self.item_vectors)

    def embed_users(self, raw: Mapping[str, Any]) -> tf.Tensor:
        """Returns the outputs of the user tower for the inputs of a request, by the function that is served."""
        return self._functions[USER](raw)[EMBEDDING]

    def signatures(self) -> dict[str, Any]:
        """Returns by name: `user_embedding`, `item_embedding`, and `retrieve` where there is a catalogue."""
        functions = dict(self._functions)
        if self.retrieval is not None:
            functions[RETRIEVE] = self._retrieve(self.retrieval)
        traced = [function.traced for function in functions.values()]
        self._variables = list({id(variable): variable for one in traced for variable in one.graph.variables}.values())
        return {name: function.signature() for name, function in functions.items()}

    def contract(self) -> dict[str, Any]:
        """Returns further entries of contract.json: the signatures and, as `retrieval`, the catalogue."""
        signatures: dict[str, Any] = {}
        for name, columns in ((USER, self._user_columns), (ITEM, self._item_columns)):
            output = {"dtype": "float", "shape": ["B", *self._functions[name].outputs[EMBEDDING].shape[1:]]}
            signatures[name] = {"inputs": inputs_of(with_lengths(columns), "row"), "outputs": {EMBEDDING: output}}
        if self.retrieval is None:
            return {"signatures": signatures}
        ids = "string" if self.retrieval.ids.dtype == tf.string else "int64"
        signatures[RETRIEVE] = {
            "inputs": {
                **signatures[USER]["inputs"],
                K: {"dtype": "int32", "shape": ["B"], "default": self.retrieval.default_k},
                EXCLUDE: {"dtype": ids, "shape": ["B", "E"], "default": "none", "missing": self._missing},
                EXCLUDE_COUNT: {"dtype": "int64", "shape": ["B"], "lengths_of": EXCLUDE, "default": UNKNOWN_LENGTH},
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
            "similarity": self.retrieval.search.similarity_entry(),
            "sha256": self._sha256,
        }
        return {"signatures": signatures, "retrieval": retrieval}

    def _retrieve(self, retrieval: Retrieval) -> TensorFunction:
        ids = retrieval.ids.dtype
        options = {
            # Of any rank: earlier clients send a single number.
            K: (tf.TensorSpec(None, tf.int32, name=K), tf.constant([retrieval.default_k])),
            # A missing marker, as a server that pads takes no empty tensor.
            EXCLUDE: (tf.TensorSpec([None, None], ids, name=EXCLUDE), tf.constant(retrieval.missing, ids, [1, 1])),
            # Left out with the lists of several users, so that no server joins them with others; of a single user
            # padding repeats an id of that user.
            EXCLUDE_COUNT: (
                tf.TensorSpec([None], tf.int64, name=EXCLUDE_COUNT),
                tf.constant([UNKNOWN_LENGTH], tf.int64),
            ),
        }

        def answer(raw: dict[str, Any]) -> dict[str, tf.Tensor]:
            return retrieval.answer(self._embed_user(raw)[EMBEDDING], raw[K], raw[EXCLUDE], raw[EXCLUDE_COUNT])

        return TensorFunction(self._user_columns, "row", answer, options=options)

    def _embedding(self, tower: Callable[..., tf.Tensor], raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        return {EMBEDDING: tf.cast(tower(self._features(raw)), tf.float32)}

    def _features(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The model's inputs for one item a record, from one side's columns."""
        sent = next(raw[column.name] for column in self._columns if column.name in raw)
        batch = tf.cast(sent.nrows(), tf.int32) if isinstance(sent, tf.RaggedTensor) else tf.shape(sent)[0]
        return self._to_inputs({column.name: self._values(column, raw, batch) for column in self._columns})

    def _values(self, column: Column, raw: Mapping[str, Any], batch: tf.Tensor) -> Any:
        """Returns a column of the records, missing values where the side has none."""
        shape, dtype = column.shape(self._record), tf_dtype(column)
        if shape is Shape.RAGGED:
            empty = tf.constant([], dtype), tf.zeros([batch + 1], tf.int64)
            return raw[column.name] if column.name in raw else tf.RaggedTensor.from_row_splits(*empty, validate=False)
        value = 1 if column.name == CANDIDATE else column.marker
        sizes = column.shape("row").sizes(batch, None, None, column.width)
        values = raw[column.name] if column.name in raw else tf.fill(sizes, tf.constant(value, dtype))
        if not shape.per_candidate:
            return values
        # The transform says that there are as many candidates as it was learned on.
        declared = shape.sizes(None, None, None, column.width)
        return tf.compat.v1.placeholder_with_default(values[:, tf.newaxis], declared)

    def _in_bulk(self, catalogue: Catalogue, columns: tuple[Column, ...]) -> np.ndarray:
        """Returns the vectors of all items, by the function that is served."""
        if missing := [column.name for column in columns if column.name not in catalogue.columns]:
            fix = "make the catalogue with `catalogue_of` and the model's own feature set"
            raise InputError("catalogue", f"no column {', '.join(missing)}", "all that the item's tower reads", fix)
        parts = []
        for start in range(0, len(catalogue), _BULK):
            raw = {column.name: catalogue.columns[column.name][start : start + _BULK] for column in columns}
            parts.append(self._functions[ITEM](raw)[EMBEDDING].numpy())
        vectors: np.ndarray = np.concatenate(parts)
        return vectors


def _check_names(columns: tuple[Column, ...]) -> None:
    for column in columns:
        if column.name in (K, EXCLUDE, EXCLUDE_COUNT):
            expected = f"other names than {K} and {EXCLUDE}, which are inputs of `{RETRIEVE}` as {EXCLUDE_COUNT} is"
            fix = "give the column another name in the source's declaration, and import the data again"
            raise InputError("feature set", f"a user's column named {column.name!r}", expected, fix)


def _search_of(model: TowerModel, vectors: np.ndarray) -> ExactSearch:
    if not isinstance(model.similarity, ScaledProduct):
        return WholeSearch(vectors, model.similarity)
    one = tf.one_hot([[0]], vectors.shape[1])
    bias, more = (float(model.similarity((item[:, 0], item))[0, 0]) for item in (tf.zeros_like(one), one))
    return ProductSearch(vectors, model.similarity, more - bias, bias)
