"""What all two-tower models share: a user's vector, an item's, and their inner product."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_choice
from models.layers.set_vectors import SetVectors
from models.preranking.set_model import SetModel, flat_fields, mean_history
from transforms.features import ModelInput

TOWERS = ("user", "item")


class Extras(NamedTuple):
    """What the towers see besides their features, such as cached vectors.

    Args:
      user: `[B, E]`.
      item: `[B, M, E]`.
    """

    user: tf.Tensor
    item: tf.Tensor


class TowerModel(SetModel):
    """logit = scale <u, v> + bias, with u of the user's tower alone and v of the item's alone.

    A subclass makes its towers in `__init__`, and gives `user_vector`, `item_vector` and `get_config`.

    Args:
      inputs: the features of rows or of requests; lists are the history.
      table_sizes: ids of each space, padding included.
      embedding_dim: width of every embedding.
      hidden_units: widths of each tower's layers, of which the last is linear: the vectors' width.
      dropout: share of hidden activations dropped in training.
      batch_norm: must be False.
      embedding_l2: L2 on the rows that a training batch looks up; see `FieldEmbeddings`.
      seed: of all weights and of dropout.
      cycle_adaptive: towers, of `user` and `item`, whose layers but the first are cycle-adaptive (CAS).
      include_first_layer: makes their first layers cycle-adaptive, too.
      user_extra, item_extra: width of what each tower sees besides (`Extras`); 0 for nothing.

    Call arguments: as `SetModel`; without extras these are zeros.

    Output shape: logits `[B]` of rows, `[B, M]` of requests.

    Raises:
      ValueError: no layer, `batch_norm`, or an unknown tower.
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        hidden_units: Sequence[int] = (256, 128, 64),
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_l2: float = 0.0,
        seed: int = 1,
        cycle_adaptive: Sequence[str] = (),
        include_first_layer: bool = False,
        user_extra: int = 0,
        item_extra: int = 0,
        **kwargs: Any,
    ):
        super().__init__(inputs, table_sizes, embedding_dim, embedding_l2, seed, **kwargs)
        if not hidden_units:
            raise ValueError("hidden_units is empty; expected at least one width; give the towers a last layer")
        if batch_norm:
            raise ValueError("batch_norm is True; expected False, as an online stream has no still batch; leave it out")
        for tower in cycle_adaptive:
            checked_choice("cycle_adaptive", tower, TOWERS)
        self.hidden_units, self.dropout, self.seed = tuple(hidden_units), dropout, seed
        self.cycle_adaptive, self.include_first_layer = tuple(cycle_adaptive), include_first_layer
        self.extra_widths = {"user": user_extra, "item": item_extra}
        self.similarity = ScaledProduct()

    @property
    def vector_width(self) -> int:
        """Of u and v."""
        return self.hidden_units[-1]

    @abc.abstractmethod
    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """u `[B, W]`.

        Args:
          vectors: of which request and history are read.
          extra: `[B, E]`.
          training: as in `call`.
        """

    @abc.abstractmethod
    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """v `[B, M, W]`.

        Args:
          vectors: of which the candidates are read.
          extra: `[B, M, E]`.
          training: as in `call`.
        """

    def head(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        user, item = self.both(vectors, None, training)
        return self.similarity((user, item))

    def both(
        self, vectors: SetVectors, extras: Extras | None, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """u `[B, W]` and v `[B, M, W]`; the extras are zeros if there are none."""
        if extras is None:
            sizes = tf.shape(vectors.candidate_mask)
            extras = Extras(
                tf.zeros([sizes[0], self.extra_widths["user"]], self.compute_dtype),
                tf.zeros([sizes[0], sizes[1], self.extra_widths["item"]], self.compute_dtype),
            )
        return self.user_vector(vectors, extras.user, training), self.item_vector(vectors, extras.item, training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "dropout": self.dropout,
            "cycle_adaptive": list(self.cycle_adaptive),
            "include_first_layer": self.include_first_layer,
            "user_extra": self.extra_widths["user"],
            "item_extra": self.extra_widths["item"],
        }


@keras.utils.register_keras_serializable(package="consort")
class ScaledProduct(keras.layers.Layer):
    """scale <u, v> + bias, learned numbers that start at 1 and 0.

    Call arguments: u `[B, W]` and v `[B, M, W]`.

    Output shape: `[B, M]`.
    """

    def build(self, input_shape: Any) -> None:
        self._scale = self.add_weight(name="scale", shape=[], initializer="ones")
        self._bias = self.add_weight(name="bias", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        user, item = inputs
        return self._scale * tf.squeeze(item @ user[:, :, tf.newaxis], -1) + self._bias


def user_fields(vectors: SetVectors, extra: tf.Tensor) -> tf.Tensor:
    """What a user's tower sees: request fields, the mean of the history, and the extra; `[B, X]`."""
    asked = flat_fields(tf.concat([vectors.request, mean_history(vectors)], axis=1))
    return tf.concat([asked, tf.cast(extra, asked.dtype)], axis=-1)


def item_fields(vectors: SetVectors, extra: tf.Tensor) -> tf.Tensor:
    """What an item's tower sees: its fields, and the extra; `[B, M, X]`."""
    offered = flat_fields(vectors.candidates)
    return tf.concat([offered, tf.cast(extra, offered.dtype)], axis=-1)
