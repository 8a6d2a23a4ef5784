"""A point-wise MLP over weighed fields, as COLD has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.field_weights import FieldGates
from models.layers.mlp import MLP
from models.ranking.field_model import DeepFieldModel, flat
from models.table_model import ModelOptions
from transforms.features import ModelInput


@dataclass(frozen=True)
class ColdOptions(ModelOptions):
    """The options of `Cold`.

    Args:
      hidden_units: widths of the MLP's hidden layers.
    """

    hidden_units: Sequence[int] = (300, 300, 128)


@keras.utils.register_keras_serializable(package="consort")
class Cold(DeepFieldModel):
    """Linear terms and an MLP over all fields, each of which is weighed by what it holds.

    s_i = sigmoid(w_i . e_i + b_i),  logit = sum_i l_i + MLP([s_1 e_1; ...; s_F e_F]); h, its last
    hidden layer, is the MLP's.

    Reference: Wang et al., "COLD: Towards the Next Generation of Pre-Ranking System" (2020, arXiv
    2007.16122), section 3.2, without the choice of fields by cost.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `ColdOptions`.

    Call arguments, output shape: as `TableModel`.
    """

    uses_linear = True
    options: ColdOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        chosen = self.options
        self.gates = FieldGates(derived_seed(chosen.seed, "gates"))
        seed = derived_seed(chosen.seed, "mlp")
        self.mlp = MLP(chosen.hidden_units, chosen.dropout, chosen.batch_norm, output_units=1, seed=seed)

    def mlp_input(
        self, embeddings: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None
    ) -> tf.Tensor:
        return flat(self.gates(embeddings))
