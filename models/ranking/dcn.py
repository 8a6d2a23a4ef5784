"""DCN, the deep and cross network, in its first and its second version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.cross import CrossLayer, CrossLayerV2, CrossMixture
from models.layers.mlp import MLP
from models.options import Count
from models.ranking.field_model import DeepFieldModel, flat
from models.table_model import ModelOptions
from transforms.features import ModelInput


@dataclass(frozen=True)
class DCNOptions(ModelOptions):
    """The options of `DCN`.

    Args:
      cross: kind of cross layer: `v1`, a weight vector (`CrossLayer`); `v2`, a weight matrix (`CrossLayerV2`);
        `mixture`, a mixture of low-rank experts (`CrossMixture`).
      structure: how the cross network and the MLP are joined; see `DCN`.
      num_cross_layers: number of cross layers.
      cross_rank: rank of the experts of `mixture`; ignored otherwise.
      num_experts: experts in each layer of `mixture`; ignored otherwise.
    """

    cross: Literal["v1", "v2", "mixture"] = "v1"
    structure: Literal["parallel", "stacked", "stacked_parallel", "crossnet_only"] = "parallel"
    num_cross_layers: Count = 3
    cross_rank: Count = 32
    num_experts: Count = 4


@keras.utils.register_keras_serializable(package="consort")
class DCN(DeepFieldModel):
    """A cross network, whose every layer raises the degree of the interactions by one, and an MLP.

    With x_0 = [e_1; ...; e_F] and x_L the last cross layer's output:

    `parallel`: logit = w^T [x_L; MLP(x_0)] + w_0
    `stacked`: logit = w^T MLP(x_L) + w_0
    `stacked_parallel`: logit = w^T [MLP'(x_L); MLP(x_0)] + w_0
    `crossnet_only`: logit = w^T x_L + w_0

    x_0 is part of x_L, so the papers have no linear terms; with `linear_terms` the logit is + sum_i l_i. h, its last
    hidden layer, is what w meets: of `parallel` [x_L; MLP(x_0)].

    Reference: Wang et al., "Deep & Cross Network for Ad Click Predictions" (ADKDD 2017), equations 3 to 5
    (`v1`, `parallel`); Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale
    Learning to Rank Systems" (WWW 2021), equations 1 to 4 and figure 1 (`v2`, `mixture`, structures).

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `DCNOptions`.

    Call arguments, output shape: as `TableModel`.

    Raises:
      ValueError: no such cross or structure, a number less than 1, or no hidden units where there is an MLP.
    """

    options: DCNOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        chosen = self.options
        depths = range(chosen.num_cross_layers)
        self.cross_layers = [self._cross_layer(derived_seed(chosen.seed, f"cross/{depth}")) for depth in depths]
        deep = (chosen.hidden_units, chosen.dropout, chosen.batch_norm)
        if chosen.structure in ("stacked", "stacked_parallel"):
            # Alone it has the model's seed, as the MLP of the other structures has.
            seed = chosen.seed if chosen.structure == "stacked" else derived_seed(chosen.seed, "stacked_mlp")
            self.stacked_mlp = MLP(*deep, seed=seed)
        if chosen.structure in ("parallel", "stacked_parallel"):
            self.mlp = MLP(*deep, seed=chosen.seed)
        self.output_layer = MLP(output_units=1, seed=derived_seed(chosen.seed, "output"))

    def _cross_layer(self, seed: int) -> keras.layers.Layer:
        chosen = self.options
        if chosen.cross == "mixture":
            return CrossMixture(chosen.cross_rank, chosen.num_experts, seed)
        return CrossLayer(seed) if chosen.cross == "v1" else CrossLayerV2(seed)

    @property
    def output_mlp(self) -> MLP:
        return self.output_layer

    def mlp_input(
        self, embeddings: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None
    ) -> tf.Tensor:
        first = flat(embeddings)
        crossed = first
        for layer in self.cross_layers:
            crossed = layer((first, crossed))
        if self.options.structure in ("stacked", "stacked_parallel"):
            crossed = self.stacked_mlp(crossed, training=training, real=real)
        if self.options.structure in ("parallel", "stacked_parallel"):
            crossed = tf.concat([crossed, self.mlp(first, training=training, real=real)], axis=1)
        return crossed
