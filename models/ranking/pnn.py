"""PNN, the product-based neural network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.field_pairs import InnerProduct, OuterProduct
from models.layers.mlp import MLP
from models.ranking.field_model import DeepFieldModel, check_pairs, flat
from models.table_model import ModelOptions
from transforms.features import ModelInput


@dataclass(frozen=True)
class PNNOptions(ModelOptions):
    """The options of `PNN`.

    Args:
      product: product of two embeddings, `inner` or `outer`.
      outer_kernel: kernel of the outer products, one for each pair: `mat`, a matrix; `vec`, a diagonal matrix; `num`, a
        number.
    """

    product: Literal["inner", "outer"] = "inner"
    outer_kernel: Literal["mat", "vec", "num"] = "mat"


@keras.utils.register_keras_serializable(package="consort")
class PNN(DeepFieldModel):
    """An MLP over the embeddings and one product for each pair of them.

    logit = MLP([e_1; ...; e_F; (p_ij)_{i<j}]), p_ij = <e_i, e_j> (IPNN) or the outer product of e_i and
    e_j weighed by a kernel (OPNN); with `linear_terms` + sum_i l_i. h, its last hidden layer, is the MLP's.

    Reference: Qu et al., "Product-based Neural Networks for User Response Prediction" (ICDM 2016); kernels of
    outer products: see `OuterProduct`.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them; two at least.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `PNNOptions`.

    Call arguments, output shape: as `TableModel`.

    Raises:
      ValueError: no such product or kernel; fewer than two features.
    """

    options: PNNOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        check_pairs(type(self).__name__, self.embeddings.inputs)
        chosen = self.options
        outer = OuterProduct(chosen.outer_kernel, seed=derived_seed(chosen.seed, "outer_product"))
        self.products = InnerProduct() if chosen.product == "inner" else outer
        self.mlp = MLP(chosen.hidden_units, chosen.dropout, chosen.batch_norm, output_units=1, seed=chosen.seed)

    def mlp_input(
        self, embeddings: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None
    ) -> tf.Tensor:
        return tf.concat([flat(embeddings), self.products(embeddings)], axis=1)
