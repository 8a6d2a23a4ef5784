"""PNN, the product-based neural network."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_choice
from models.layers.inner_product import InnerProduct
from models.layers.mlp import MLP
from models.layers.outer_product import OuterProduct
from models.layers.seeds import derived_seed
from models.ranking.field_model import FieldModel, check_pairs
from transforms.features import ModelInput

PRODUCTS = ("inner", "outer")


@keras.utils.register_keras_serializable(package="consort")
class PNN(FieldModel):
    """An MLP over the embeddings and one product for each pair of them.

    logit = MLP([e_1; ...; e_F; (p_ij)_{i<j}]), p_ij = <e_i, e_j> (IPNN) or the outer product of e_i and
    e_j weighed by a kernel (OPNN); no linear terms. h, its last hidden layer, is the MLP's.

    Reference: Qu et al., "Product-based Neural Networks for User Response Prediction" (ICDM 2016); kernels of
    outer products: see `OuterProduct`.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them; two at least.
      table_sizes: ids of each vocabulary, padding included.
      embedding_dim: width of every embedding.
      hidden_units: widths of the MLP's hidden layers.
      dropout: share of hidden activations dropped in training.
      batch_norm: normalise hidden activations over the batch.
      embedding_l2: L2 on the rows that a training batch looks up; see `FieldEmbeddings`.
      seed: of all weights and of dropout.
      product: `inner` or `outer`.
      outer_kernel: of outer products, `mat`, `vec` or `num`.

    Call arguments:
      features: by name, as `FieldEmbeddings` takes them.

    Output shape: logits `[B]`; `[B, M]` if a feature has candidates.

    Raises:
      ValueError: no such product or kernel; fewer than two features.
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
        product: str = "inner",
        outer_kernel: str = "mat",
        **kwargs: Any,
    ):
        super().__init__(inputs, table_sizes, embedding_dim, embedding_l2, seed, **kwargs)
        check_pairs(type(self).__name__, self.embeddings.inputs)
        self.product, self.outer_kernel = checked_choice("product", product, PRODUCTS), outer_kernel
        outer = OuterProduct(outer_kernel, seed=derived_seed(seed, "outer_product"))  # Checks the kernel's name.
        self.products = InnerProduct() if product == "inner" else outer
        self.batch_norm = batch_norm
        self.mlp = MLP(hidden_units, dropout, batch_norm, output_units=1, seed=seed)

    def head(
        self,
        embeddings: tf.Tensor,
        linear: tf.Tensor | None,
        training: bool | None,
        real: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return tf.squeeze(self.mlp(self._with_products(embeddings), training=training, real=real), -1)

    def last_hidden(self, embeddings: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.mlp.hidden(self._with_products(embeddings), training)

    def _with_products(self, embeddings: tf.Tensor) -> tf.Tensor:
        fields, width = embeddings.shape[1:]
        return tf.concat([tf.reshape(embeddings, [-1, fields * width]), self.products(embeddings)], axis=1)

    @property
    def output_bias(self) -> Any:
        return self.mlp.output_bias

    def get_config(self) -> dict[str, Any]:
        deep = self.mlp.get_config()
        own = {"product": self.product, "outer_kernel": self.outer_kernel}
        return {**super().get_config(), **{key: deep[key] for key in ("hidden_units", "dropout", "batch_norm")}, **own}
