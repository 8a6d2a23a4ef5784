"""DeepFM."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.fm import FactorizationMachine
from models.layers.mlp import MLP
from models.ranking.field_model import DeepFieldModel, flat
from models.table_model import ModelOptions
from transforms.features import ModelInput


@keras.utils.register_keras_serializable(package="consort")
class DeepFM(DeepFieldModel):
    """Linear terms, a factorization machine and an MLP over the same embeddings.

    logit = w_0 + sum_i w_i + sum_{i<j} <e_i, e_j> + MLP([e_1; ...; e_F]); w_0 is the bias of the MLP's
    output layer. h, its last hidden layer, is the MLP's.

    Reference: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction"
    (IJCAI 2017), equations 1 to 4.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `ModelOptions`.

    Call arguments, output shape: as `TableModel`.
    """

    uses_linear = True
    options: ModelOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        chosen = self.options
        self.fm = FactorizationMachine()
        self.mlp = MLP(chosen.hidden_units, chosen.dropout, chosen.batch_norm, output_units=1, seed=chosen.seed)

    def mlp_input(
        self, embeddings: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None
    ) -> tf.Tensor:
        return flat(embeddings)

    def shallow(self, embeddings: tf.Tensor, linear: tf.Tensor | None) -> tf.Tensor | float:
        return super().shallow(embeddings, linear) + self.fm(embeddings)
