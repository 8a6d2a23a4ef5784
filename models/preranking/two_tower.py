"""A point-wise two-tower pre-ranker."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.mlp import MLP
from models.layers.seeds import derived_seed
from models.layers.set_vectors import SetVectors, check_user_side
from models.preranking.set_model import SetModel, flat_fields, mean_history
from transforms.features import ModelInput


@keras.utils.register_keras_serializable(package="consort")
class TwoTower(SetModel):
    """The inner product of a user's and a candidate's vector: the two meet nowhere else.

    logit = <MLP_u([u ; mean of history]), MLP_v(c)> + b

    Reference: Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough
    Data" (DSSM, CIKM 2013), as pre-rankers use it.

    Args:
      inputs: the features of request records; lists are the history.
      table_sizes: ids of each vocabulary, padding included.
      embedding_dim: width of every embedding.
      hidden_units: widths of each tower's layers, of which the last is linear; at least one.
      dropout: share of hidden activations dropped in training.
      batch_norm: normalise hidden activations over the batch.
      embedding_l2: L2 on the rows that a training batch looks up; see `FieldEmbeddings`.
      seed: of all weights and of dropout.

    Call arguments, output shape: as `SetModel`.

    Raises:
      ValueError: no hidden layer, or no feature but the items'.
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
        **kwargs: Any,
    ):
        super().__init__(inputs, table_sizes, embedding_dim, embedding_l2, seed, **kwargs)
        if not hidden_units:
            raise ValueError("hidden_units is empty; expected at least one width; give the towers a last layer")
        check_user_side(type(self).__name__, self.roles)
        self.hidden_units, self.dropout, self.batch_norm = tuple(hidden_units), dropout, batch_norm
        *hidden, last = self.hidden_units
        self.user_tower, self.item_tower = (
            MLP(hidden, dropout, batch_norm, output_units=last, seed=derived_seed(seed, tower))
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

    def get_config(self) -> dict[str, Any]:
        own = {"hidden_units": list(self.hidden_units), "dropout": self.dropout, "batch_norm": self.batch_norm}
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable(package="consort")
class Bias(keras.layers.Layer):
    """Adds one learned number, which starts at 0."""

    def build(self, input_shape: Any) -> None:
        self.value = self.add_weight(name="bias", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + tf.cast(self.value, inputs.dtype)
