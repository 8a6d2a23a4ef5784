"""Bilinear interactions of FiBiNET."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.axes import merge_leading, split_leading
from models.layers.choices import checked_choice
from models.layers.field_pairs import bilinear_products, checked_fields, pair_indices

BILINEAR_TYPES = ("field_all", "field_each", "field_interaction")


@keras.utils.register_keras_serializable(package="consort")
class BilinearInteraction(keras.layers.Layer):
    """For each pair of fields i < j the vector p_ij = (e_i W) * e_j, elementwise.

    W is one matrix for all pairs (`field_all`, D^2 weights), one a left field (`field_each`,
    (F - 1) D^2: the last field is never a left one) or one a pair (`field_interaction`, F (F - 1) / 2 D^2).

    Reference: Huang et al., "FiBiNET: Combining Feature Importance and Bilinear Feature Interaction for
    Click-Through Rate Prediction" (RecSys 2019), the bilinear-interaction layer.

    Args:
      bilinear_type: `field_all`, `field_each` or `field_interaction`.
      seed: of the matrices, each Glorot normal.

    Input shape: `[..., F, D]`, F at least 2.

    Output shape: `[..., F (F - 1) / 2 * D]`, pairs in the order (0, 1), (0, 2), ..., (1, 2), ...

    Raises:
      ValueError: no such type, or fewer than two fields.
    """

    def __init__(self, bilinear_type: str = "field_interaction", seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.bilinear_type, self.seed = checked_choice("bilinear_type", bilinear_type, BILINEAR_TYPES), seed

    def build(self, input_shape: Any) -> None:
        fields, width = checked_fields(input_shape)
        pairs = fields * (fields - 1) // 2
        count = {"field_all": 1, "field_each": fields - 1, "field_interaction": pairs}[self.bilinear_type]
        start = keras.initializers.RandomNormal(stddev=width**-0.5, seed=self.seed)  # Glorot of one [D, D]
        self.kernel = self.add_weight(name="kernel", shape=[count, width, width], initializer=start)
        super().build(input_shape)

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        kernels = tf.convert_to_tensor(self.kernel)
        left, _ = pair_indices(embeddings.shape[-2])
        if self.bilinear_type != "field_interaction":
            # A matrix for each pair costs less than the memory traffic of repeating what is shared.
            kernels = tf.gather(kernels, left if self.bilinear_type == "field_each" else 0 * left)
        products = bilinear_products(merge_leading(embeddings, 2), kernels)
        return split_leading(products, embeddings, 2)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        shape = tf.TensorShape(input_shape)
        fields, width = checked_fields(shape)
        return shape[:-2].concatenate([fields * (fields - 1) // 2 * width])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bilinear_type": self.bilinear_type, "seed": self.seed}
