"""A point-wise two-tower pre-ranker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.mlp import MLP
from models.layers.set_vectors import SetVectors, check_user_side, flat_fields
from models.preranking.set_model import SetModel, mean_history
from models.table_model import ModelOptions
from transforms.features import ModelInput


@dataclass(frozen=True)
class TwoTowerOptions(ModelOptions):
    """The options of `TwoTower`.

    Args:
      hidden_units: widths of each tower's layers, of which the last is linear; at least one.
    """

    hidden_units: Sequence[int] = (256, 128, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden_units:
            raise ValueError("hidden_units is empty; expected at least one width; give the towers a last layer")


@keras.utils.register_keras_serializable(package="consort")
class TwoTower(SetModel):
    """The inner product of a user's and a candidate's vector: the two meet nowhere else.

    logit = <MLP_u([u ; mean of history]), MLP_v(c)> + b

    Reference: Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough
    Data" (DSSM, CIKM 2013), as pre-rankers use it.

    Args:
      inputs: the features of request records; lists are the history.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `TwoTowerOptions`.

    Call arguments, output shape: as `SetModel`.

    Raises:
      ValueError: no hidden layer, or no feature but the items'.
    """

    options: TwoTowerOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        check_user_side(type(self).__name__, self.roles)
        chosen = self.options
        *hidden, last = chosen.hidden_units
        self.user_tower, self.item_tower = (
            MLP(hidden, chosen.dropout, chosen.batch_norm, output_units=last, seed=derived_seed(chosen.seed, tower))
            for tower in ("user", "item")
        )
        self.bias = Bias()

    def head(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        asked = tf.concat([vectors.request, mean_history(vectors)], axis=1)
        user = self.user_tower(flat_fields(asked), training=training)
        items = self.item_tower(flat_fields(vectors.candidates), training=training, real=vectors.candidate_mask)
        return self.bias(tf.squeeze(items @ user[:, :, tf.newaxis], -1))

    @property
    def output_bias(self) -> Any:
        return self.bias.value


@keras.utils.register_keras_serializable(package="consort")
class Bias(keras.layers.Layer):
    """Adds one learned number, which starts at 0."""

    def build(self, input_shape: Any) -> None:
        self.value = self.add_weight(name="bias", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + tf.cast(self.value, inputs.dtype)
