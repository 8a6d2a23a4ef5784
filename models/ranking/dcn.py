"""DCN, the deep and cross network, in its first and its second version."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_choice, checked_count
from models.layers.cross import CrossLayer
from models.layers.cross_mixture import CrossMixture
from models.layers.cross_v2 import CrossLayerV2
from models.layers.mlp import MLP
from models.layers.seeds import derived_seed
from models.ranking.field_model import FieldModel
from transforms.features import ModelInput

CROSSES = ("v1", "v2", "mixture")
STRUCTURES = ("parallel", "stacked", "stacked_parallel", "crossnet_only")


@keras.utils.register_keras_serializable(package="consort")
class DCN(FieldModel):
    """A cross network, whose every layer raises the degree of the interactions by one, and an MLP.

    With x_0 = [e_1; ...; e_F] and x_L the last cross layer's output:

    `parallel`: logit = w^T [x_L; MLP(x_0)] + w_0
    `stacked`: logit = w^T MLP(x_L) + w_0
    `stacked_parallel`: logit = w^T [MLP'(x_L); MLP(x_0)] + w_0
    `crossnet_only`: logit = w^T x_L + w_0

    Linear terms have no place in it: x_0 is part of x_L. h, its last hidden layer, is what w meets: of `parallel`
    [x_L; MLP(x_0)].

    Reference: Wang et al., "Deep & Cross Network for Ad Click Predictions" (ADKDD 2017), equations 3 to 5
    (`v1`, `parallel`); Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale
    Learning to Rank Systems" (WWW 2021), equations 1 to 4 and figure 1 (`v2`, `mixture`, structures).

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      embedding_dim: width of every embedding.
      hidden_units: widths of the MLP's hidden layers; `crossnet_only` has none.
      dropout: share of hidden activations dropped in training.
      batch_norm: normalise hidden activations over the batch.
      embedding_l2: L2 on the rows that a training batch looks up; see `FieldEmbeddings`.
      seed: of all weights and of dropout.
      cross: `v1`, weights w in R^W (`CrossLayer`); `v2`, R^{W x W} (`CrossLayerV2`); `mixture`, low-rank
        experts (`CrossMixture`).
      structure: one of the four above.
      num_cross_layers: L.
      cross_rank: of `mixture`, width of its low-dimensional space.
      num_experts: of `mixture`.

    Call arguments:
      features: by name, as `FieldEmbeddings` takes them.

    Output shape: logits `[B]`; `[B, M]` if a feature has candidates.

    Raises:
      ValueError: no such cross or structure, a number less than 1, or no hidden units where there is an MLP.
    """

    has_hidden = True

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        hidden_units: Sequence[int] = (400, 200, 100),
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_l2: float = 0.0,
        seed: int = 1,
        cross: str = "v1",
        structure: str = "parallel",
        num_cross_layers: int = 3,
        cross_rank: int = 32,
        num_experts: int = 4,
        **kwargs: Any,
    ):
        super().__init__(inputs, table_sizes, embedding_dim, embedding_l2, seed, **kwargs)
        self.cross = checked_choice("cross", cross, CROSSES)
        self.structure = checked_choice("structure", structure, STRUCTURES)
        self.cross_rank = checked_count("cross_rank", cross_rank)
        self.num_experts = checked_count("num_experts", num_experts)
        depths = range(checked_count("num_cross_layers", num_cross_layers))
        self.cross_layers = [self._cross_layer(derived_seed(seed, f"cross/{depth}")) for depth in depths]
        self.hidden_units, self.dropout, self.batch_norm = tuple(hidden_units), dropout, batch_norm
        if structure in ("stacked", "stacked_parallel"):
            # Alone it has the model's seed, as the MLP of the other structures has.
            own_seed = seed if structure == "stacked" else derived_seed(seed, "stacked_mlp")
            self.stacked_mlp = MLP(hidden_units, dropout, batch_norm, seed=own_seed)
        if structure in ("parallel", "stacked_parallel"):
            self.mlp = MLP(hidden_units, dropout, batch_norm, seed=seed)
        self.output_layer = MLP(output_units=1, seed=derived_seed(seed, "output"))

    def _cross_layer(self, seed: int) -> keras.layers.Layer:
        if self.cross == "mixture":
            return CrossMixture(self.cross_rank, self.num_experts, seed)
        return CrossLayer(seed) if self.cross == "v1" else CrossLayerV2(seed)

    def head(
        self,
        embeddings: tf.Tensor,
        linear: tf.Tensor | None,
        training: bool | None,
        real: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return tf.squeeze(self.output_layer(self._crossed(embeddings, training, real)), -1)

    def last_hidden(self, embeddings: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._crossed(embeddings, training, None)

    def _crossed(self, embeddings: tf.Tensor, training: bool | None, real: tf.Tensor | None) -> tf.Tensor:
        fields, width = embeddings.shape[1:]
        first = tf.reshape(embeddings, [-1, fields * width])
        crossed = first
        for layer in self.cross_layers:
            crossed = layer((first, crossed))
        if self.structure in ("stacked", "stacked_parallel"):
            crossed = self.stacked_mlp(crossed, training=training, real=real)
        if self.structure in ("parallel", "stacked_parallel"):
            crossed = tf.concat([crossed, self.mlp(first, training=training, real=real)], axis=1)
        return crossed

    @property
    def output_bias(self) -> Any:
        return self.output_layer.output_bias

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "dropout": self.dropout,
            "batch_norm": self.batch_norm,
            "cross": self.cross,
            "structure": self.structure,
            "num_cross_layers": len(self.cross_layers),
            "cross_rank": self.cross_rank,
            "num_experts": self.num_experts,
        }
