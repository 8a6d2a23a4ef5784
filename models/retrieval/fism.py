"""FISM with features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.layers.dense import Dense
from models.layers.recency import RecencyWeightedMean
from models.layers.set_vectors import SetVectors
from models.layers.tower import Tower
from models.layers.tower_caches import SIDES
from models.options import Count
from models.retrieval.tower_model import TowerModel, TowerOptions, item_fields, user_fields


@dataclass(frozen=True)
class FISMOptions(TowerOptions):
    """The options of `FISM`.

    Args:
      residual: True adds the gated towers of dense layers.
      max_positions: learned weights of positions in the history, counted from its end; older events share the last one.
        1 weights all alike.
    """

    residual: bool = False
    max_positions: Count = 50


@keras.utils.register_keras_serializable(package="consort")
class FISM(TowerModel):
    """Two towers that begin as factored item similarities: the user is a mean of the items of the history.

    With x_f the vectors of a side's fields, s_nf those of the history's N events, and w_n their weights, learned for
    each position from the end (`RecencyWeightedMean`):

      u = A sum_n w_n sum_f s_nf + sum_f x_f + c + E_u extra,  v = sum_f x_f + E_v extra,  logit = scale <u, v> + bias

    With `residual` g_u MLP_u([request ; mean of history ; extra]) and g_v MLP_v([item ; extra]) are added. A starts as
    the identity, the weights w_n alike, and E and the gates g at 0: at first the score is the similarity of the item
    with those of the history, in the table that both share. On small logs this finds more of a catalogue than MLPs do,
    and users without a training row have as good a vector as others. The recipe `retrieval` lets it begin with what is
    popular lately, too: the first component of an item's vector is then ln p, that of u is 1 (`initialize_item_bias`).

    Reference: Kabbur et al., "FISM: Factored Item Similarity Models for Top-N Recommender Systems" (KDD 2013), with
    features as in factorization machines, and residual towers whose gates are those of Bachlechner et al., "ReZero is
    All You Need" (UAI 2021).

    Args:
      *args: as of `TowerModel`.
      **options: see `FISMOptions`; vectors are as wide as embeddings, and `hidden_units` are of the residual towers.

    Call arguments, output shape: as `TowerModel`.
    """

    options: FISMOptions

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        width, sides = self.options.embedding_dim, SIDES if self.options.residual else ()
        units = (*self.options.hidden_units, width)
        self.towers = {side: Tower(units, **self._tower_options(side)) for side in sides}
        self.gates = {side: Gate() for side in sides}
        self.mean = RecencyWeightedMean(self.options.max_positions - 1) if "history" in self.roles.values() else None
        # Its bias is c, whose product with an item's vector is the item's bias.
        self.history = Dense(width, kernel_initializer=keras.initializers.Identity())
        cached = [side for side, size in self.extra_widths.items() if size]
        self.cached = {side: Dense(width, use_bias=False, kernel_initializer="zeros") for side in cached}

    @property
    def kept_widths(self) -> dict[str, int]:
        return dict.fromkeys(SIDES, self.options.embedding_dim)

    def initialize_item_bias(self, feature: str, ids: np.ndarray, values: np.ndarray) -> None:
        """Writes values into the first component of items' vectors, which is 1 in c and which A leaves alone."""
        embeddings, dim = self.embeddings, self.options.embedding_dim
        vocabulary = next(one.vocabulary for one in embeddings.inputs if one.name == feature and one.vocabulary)
        rows = (embeddings.first_rows[vocabulary] + ids)[:, np.newaxis]
        at = np.concatenate([rows, np.full_like(rows, embeddings.columns(0)[0])], axis=1)
        embeddings.table.assign(tf.tensor_scatter_nd_update(embeddings.table, at, tf.cast(values, tf.float32)))
        others = (np.arange(dim) > 0).astype(np.float32)
        kernel, bias = self.history.weights
        kernel.assign(np.diag(others))
        bias.assign(1 - others)

    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if self.mean is None:
            mean = tf.zeros_like(vectors.candidates[:, 0, 0])
        else:
            mean = self.mean(tf.reduce_sum(vectors.history, axis=2), vectors.history_mask)
        user = tf.reduce_sum(vectors.request, axis=1) + self.history(mean)
        return user + self._more("user", user_fields(vectors, extra), extra, training)

    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        item = tf.reduce_sum(vectors.candidates, axis=2)
        return item + self._more("item", item_fields(vectors, extra), extra, training)

    def _more(self, side: str, fields: tf.Tensor, extra: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Returns what the caches and the towers of dense layers add."""
        added = tf.zeros([], fields.dtype)
        if side in self.cached:
            added += self.cached[side](tf.cast(extra, fields.dtype))
        if self.towers:
            added += self.gates[side](self.towers[side](fields, training=training))
        return added


@keras.utils.register_keras_serializable(package="consort")
class Gate(keras.layers.Layer):
    """Multiplies by a learned number that starts at 0."""

    def build(self, input_shape: Any) -> None:
        self.gate = self.add_weight(name="gate", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.gate * inputs
