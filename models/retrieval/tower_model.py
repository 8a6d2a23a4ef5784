"""The base of two-tower models: a user's vector, an item's, and their inner product."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.layers.arguments import derived_seed
from models.layers.set_vectors import SetVectors, check_user_side, flat_fields
from models.layers.tower import Tower
from models.layers.tower_caches import SIDES, Extras, TowerCaches
from models.preranking.set_model import SetModel, mean_history
from models.table_model import ModelOptions
from models.training.compiling import precision
from transforms.features import ModelInput


class TowerInput(NamedTuple):
    """The input of two towers: vectors of a batch's features, and those cached for its ids (None: no caches)."""

    sets: SetVectors
    extras: Extras | None


@dataclass(frozen=True)
class TowerOptions(ModelOptions):
    """The options of every two-tower model of retrieval.

    Args:
      hidden_units: widths of each tower's layers, of which the last is linear: the vectors' width.
      batch_norm: must be False.
      cycle_adaptive: towers, `user` and `item`, whose layers after the first are cycle-adaptive (CAS).
      include_first_layer: True makes the first layer of these towers cycle-adaptive, too.
    """

    hidden_units: Sequence[int] = (256, 128, 64)
    cycle_adaptive: Sequence[Literal["user", "item"]] = ()
    include_first_layer: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden_units:
            raise ValueError("hidden_units is empty; expected at least one width; give the towers a last layer")
        if self.batch_norm:
            raise ValueError("batch_norm is True; expected False, as an online stream has no still batch; leave it out")


class TowerModel(SetModel):
    """logit = scale <u, v> + bias, with u of the user's tower alone and v of the item's alone.

    A subclass declares its options, makes its towers in `__init__`, and gives `user_vector` and `item_vector`. One
    whose score is no inner product gives a `similarity` of its own, and `kept`.

    Args:
      inputs: the features of rows or of requests; lists are the history.
      table_sizes: ids of each vocabulary, padding included.
      caches: what the towers see besides, and what `CS3` writes; None for nothing.
      **options: of the class's declaration, which is a `TowerOptions`.

    Call arguments: as `SetModel`.

    Output shape: logits `[B]` of rows, `[B, M]` of requests.

    Raises:
      ValueError: no layer, `batch_norm`, an unknown tower, or no feature but the items'.
    """

    takes_linear = False
    options: TowerOptions

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        caches: TowerCaches | None = None,
        **options: Any,
    ):
        super().__init__(inputs, table_sizes, **options)
        check_user_side(type(self).__name__, self.roles)
        self.caches = caches
        self.similarity = ScaledProduct()

    def initialize_item_bias(self, feature: str, ids: np.ndarray, values: np.ndarray) -> None:
        """Lets the products of all users with some items begin near given values; does nothing in most classes.

        Args:
          feature: id feature of the item.
          ids: of the items, each once, `[n]`; other items begin near 0.
          values: `[n]`.
        """

    has_auxiliary_losses: ClassVar[bool] = False

    @property
    def kept_widths(self) -> dict[str, int]:
        """Widths of the vectors that `kept` returns, by tower."""
        return dict.fromkeys(SIDES, self.options.hidden_units[-1])

    def kept(self, user: tf.Tensor, item: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the parts of the towers' outputs that caches keep: all, unless a subclass chooses."""
        return user, item

    def side_outputs(self, vectors: SetVectors) -> list[tf.Tensor]:
        """Returns the further inputs of `auxiliary_loss`, beside the towers' outputs."""
        return []

    def auxiliary_loss(self, user: tf.Tensor, item: tf.Tensor, sides: Sequence[tf.Tensor], clicks: Clicks) -> tf.Tensor:
        """Returns the loss that training adds to the log loss, of classes with `has_auxiliary_losses`.

        Args:
          user, item: the towers' outputs for a batch of rows, `[B, W]`.
          sides: what `side_outputs` gave.
          clicks: labels and masks of the batch.

        Raises:
          NotImplementedError: the class has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no auxiliary loss")

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Adds the auxiliary loss of classes that have one to Keras' step; a candidate counts as a row in it."""
        if not self.has_auxiliary_losses:
            return super().train_step(data)
        features, label, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            inputs = self.look_up(features, training=True)
            user, item = self.both(inputs, training=True)
            logits = self.of_rows(self.similarity((user, item)))
            loss = self.compute_loss(features, label, logits, weight)
            rows = _rows(user, item, self.side_outputs(inputs.sets), Clicks(label, weight, features))
            loss += self.auxiliary_loss(*rows) / self.distribute_strategy.num_replicas_in_sync
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return self.compute_metrics(features, label, logits, weight)

    def with_caches(self, caches: TowerCaches) -> Self:
        """Returns a new model like this one, with caches; its weights are drawn again from the same seed."""
        with precision(self.dtype_policy.name):
            return type(self).from_config({**self.get_config(), "caches": keras.utils.serialize_keras_object(caches)})

    @abc.abstractmethod
    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """u `[B, W]`.

        Args:
          vectors: the features' vectors; request and history are read.
          extra: `[B, E]`.
          training: as in `call`.
        """

    @abc.abstractmethod
    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """v `[B, M, W]`.

        Args:
          vectors: the features' vectors; the candidates are read.
          extra: `[B, M, E]`.
          training: as in `call`.
        """

    def look_up(self, features: Mapping[str, Any], training: bool | None = None) -> TowerInput:
        return TowerInput(super().look_up(features, training), self.extras(features))

    def extras(self, features: Mapping[str, Any]) -> Extras | None:
        """Returns the cached vectors of a batch; None without caches."""
        return None if self.caches is None else self.caches(features)

    def interact(self, vectors: TowerInput | SetVectors, training: bool | None = None) -> tf.Tensor:
        return self.of_rows(self.similarity(self.both(vectors, training)))

    def both(self, vectors: TowerInput | SetVectors, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """u `[B, W]` and v `[B, M, W]`; without extras these are zeros."""
        sets, extras = vectors if isinstance(vectors, TowerInput) else (vectors, None)
        if extras is None:
            sizes, widths = tf.shape(sets.candidate_mask), self.extra_widths
            extras = Extras(tf.zeros([sizes[0], widths["user"]]), tf.zeros([sizes[0], sizes[1], widths["item"]]))
        extras = Extras(*(tf.cast(part, self.compute_dtype) for part in extras))
        return self._head_function(self.head)(self.cast_sets(sets), extras, training)

    def head(self, vectors: SetVectors, extras: Extras, training: bool | None) -> tuple[tf.Tensor, tf.Tensor]:  # type: ignore[override]
        return self.user_vector(vectors, extras.user, training), self.item_vector(vectors, extras.item, training)

    def build_head(self) -> None:
        if self.caches is not None:
            self.caches.build(None)
        super().build_head()

    @property
    def extra_widths(self) -> dict[str, int]:
        """Widths of the cached vectors, by tower."""
        return dict.fromkeys(SIDES, 0) if self.caches is None else self.caches.widths()

    def _tower_options(self, side: str) -> dict[str, Any]:
        """Returns the arguments of the layers of a side's tower."""
        return {
            "cycle_adaptive": side in self.options.cycle_adaptive,
            "include_first_layer": self.options.include_first_layer,
            "dropout": self.options.dropout,
            "seed": derived_seed(self.options.seed, f"{side} tower"),
        }

    def _dense_towers(self) -> dict[str, Tower]:
        """A tower of dense layers for each side."""
        return {side: Tower(self.options.hidden_units, **self._tower_options(side)) for side in SIDES}

    def user_embedding(self, features: Mapping[str, Any]) -> tf.Tensor:
        """u `[B, W]` of a batch of rows, whose items don't matter."""
        return self.both(self.look_up(features), training=False)[0]

    def item_embedding(self, features: Mapping[str, Any]) -> tf.Tensor:
        """v `[B, W]` of a batch of rows, whose users don't matter."""
        return self.both(self.look_up(features), training=False)[1][:, 0]

    @property
    def output_bias(self) -> Any:
        return self.similarity.bias

    def get_config(self) -> dict[str, Any]:
        caches = None if self.caches is None else keras.utils.serialize_keras_object(self.caches)
        return {**super().get_config(), "caches": caches}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        caches = config["caches"]
        layer = None if caches is None else keras.utils.deserialize_keras_object(caches)
        return cls(**{**config, "caches": layer})


@keras.utils.register_keras_serializable(package="consort")
class ScaledProduct(keras.layers.Layer):
    """scale <u, v> + bias, learned numbers that start at 1 and 0.

    Call arguments: u `[B, W]` and v `[B, M, W]`.

    Output shape: `[B, M]`.
    """

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=[], initializer="ones")
        self.bias = self.add_weight(name="bias", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        user, item = inputs
        return self.scale * tf.squeeze(item @ user[:, :, tf.newaxis], -1) + self.bias


def _rows(
    user: tf.Tensor, item: tf.Tensor, sides: Sequence[tf.Tensor], clicks: Clicks
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], Clicks]:
    """Returns the arguments of `auxiliary_loss` for a batch of rows or of requests, one row a candidate.

    Args:
      user: `[B, W]`.
      item: `[B, M, W]`.
      sides: `[B, ...]` of a user, `[B, M, ...]` of items.
      clicks: clicks of the batch.
    """
    count = tf.shape(item)[1]

    def rows(part: tf.Tensor) -> tf.Tensor:
        if part.shape.rank == 2:
            part = tf.repeat(part[:, tf.newaxis], count, axis=1)
        return tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], axis=0))

    flat = {
        name: tf.reshape(value, [-1])
        for name, value in clicks.features.items()
        if isinstance(value, tf.Tensor) and value.shape.rank == clicks.label.shape.rank
    }
    weight = None if clicks.weight is None else tf.reshape(clicks.weight, [-1])
    flat_clicks = Clicks(tf.reshape(clicks.label, [-1]), weight, flat)
    return rows(user), rows(item), [rows(part) for part in sides], flat_clicks


def user_fields(vectors: SetVectors, extra: tf.Tensor) -> tf.Tensor:
    """Returns the input of a user's tower: request fields, the mean of the history, and the extra; `[B, X]`."""
    asked = flat_fields(tf.concat([vectors.request, mean_history(vectors)], axis=1))
    return tf.concat([asked, tf.cast(extra, asked.dtype)], axis=-1)


def item_fields(vectors: SetVectors, extra: tf.Tensor) -> tf.Tensor:
    """Returns the input of an item's tower: its fields, and the extra; `[B, M, X]`."""
    offered = flat_fields(vectors.candidates)
    return tf.concat([offered, tf.cast(extra, offered.dtype)], axis=-1)


def checked_id(argument: str, name: str, inputs: Sequence[ModelInput], roles: Mapping[str, str], role: str) -> str:
    """`name`, if it is an id, one and not several, among the inputs of a role.

    Args:
      argument: what the id was given as, for the message.
      name: name of a feature.
      inputs: inputs of the model.
      roles: role of each input, one of `ROLES`.
      role: which it must have.

    Raises:
      ValueError: it is not; the message gives those that are.
    """
    known = [
        item.name for item in inputs if item.vocabulary is not None and item.width is None and roles[item.name] == role
    ]
    if name not in known:
        names = ", ".join(known) or "none"
        raise ValueError(f"{argument} is {name!r}; expected an id among the {role} inputs: {names}; name one")
    return name
