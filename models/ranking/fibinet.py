"""FiBiNET."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.field_pairs import BilinearInteraction
from models.layers.field_weights import SENET
from models.layers.mlp import MLP
from models.ranking.field_model import DeepFieldModel, check_pairs
from models.table_model import ModelOptions
from transforms.features import ModelInput


@dataclass(frozen=True)
class FiBiNETOptions(ModelOptions):
    """The options of `FiBiNET`.

    Args:
      hidden_units: widths of the MLP's hidden layers. Its input has F (F - 1) D numbers: the first one is costly.
      bilinear_type: one matrix for all pairs, for each left field, or for each pair; see `BilinearInteraction`.
      reduction_ratio: ratio of the number of fields to the width of the hidden layer of SENET.
    """

    bilinear_type: Literal["field_all", "field_each", "field_interaction"] = "field_interaction"
    reduction_ratio: int = 3


@keras.utils.register_keras_serializable(package="consort")
class FiBiNET(DeepFieldModel):
    """Linear terms, and an MLP over bilinear interactions of the embeddings as they are and as SENET weighs them.

    logit = sum_i w_i + MLP([p(e); p(v)]), v = SENET(e), p the bilinear interactions of all pairs, with
    matrices of its own for e and for v. The MLP's output layer has the only bias. h, its last hidden
    layer, is the MLP's.

    Reference: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear Feature Interaction for
    Click-Through Rate Prediction" (RecSys 2019).

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them; two at least.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `FiBiNETOptions`.

    Call arguments, output shape: as `TableModel`.

    Raises:
      ValueError: no such type, a ratio less than 1; fewer than two features.
    """

    uses_linear = True
    options: FiBiNETOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        check_pairs(type(self).__name__, self.embeddings.inputs)
        chosen = self.options
        self.senet = SENET(chosen.reduction_ratio, seed=derived_seed(chosen.seed, "senet"))
        self.plain_pairs = BilinearInteraction(chosen.bilinear_type, seed=derived_seed(chosen.seed, "plain_pairs"))
        self.weighed_pairs = BilinearInteraction(chosen.bilinear_type, seed=derived_seed(chosen.seed, "weighed_pairs"))
        self.mlp = MLP(chosen.hidden_units, chosen.dropout, chosen.batch_norm, output_units=1, seed=chosen.seed)

    def mlp_input(
        self, embeddings: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None
    ) -> tf.Tensor:
        return tf.concat([self.plain_pairs(embeddings), self.weighed_pairs(self.senet(embeddings))], axis=1)
