"""Outer products of all pairs of field vectors, each weighed by a kernel of its own."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.axes import merge_leading, split_leading
from models.layers.choices import checked_choice
from models.layers.field_pairs import bilinear_products, checked_fields, pair_indices

KERNELS = ("mat", "vec", "num")


@keras.utils.register_keras_serializable(package="consort")
class OuterProduct(keras.layers.Layer):
    """For each pair of fields i < j the sum of e_i e_j^T weighed elementwise by a kernel K_ij.

    `mat`: e_i^T K_ij e_j, K a full matrix, D^2 weights a pair.
    `vec`: sum_k K_ij,k e_i,k e_j,k, K diagonal, D weights a pair.
    `num`: K_ij <e_i, e_j>, K one number a pair.

    Reference: Qu et al., "Product-based Neural Networks for User Response Prediction over Multi-field
    Categorical Data" (TOIS 2018), kernel products. The first paper (ICDM 2016) sums the fields before the outer
    product, which leaves no weight to a pair.

    Args:
      kernel: `mat`, `vec` or `num`.
      seed: of the kernels: N(0, 1/D) for `mat` (Glorot), N(0, 1) for `vec` and `num`, whose products
        are fewer.

    Input shape: `[..., F, D]`, F at least 2.

    Output shape: `[..., F (F - 1) / 2]`, pairs in the order (0, 1), (0, 2), ..., (1, 2), ...

    Raises:
      ValueError: no such kernel, or fewer than two fields.
    """

    def __init__(self, kernel: str = "mat", seed: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel, self.seed = checked_choice("kernel", kernel, KERNELS), seed

    def build(self, input_shape: Any) -> None:
        fields, width = checked_fields(input_shape)
        shape = [fields * (fields - 1) // 2, *{"mat": [width, width], "vec": [width], "num": []}[self.kernel]]
        stddev = width**-0.5 if self.kernel == "mat" else 1.0
        start = keras.initializers.RandomNormal(stddev=stddev, seed=self.seed)
        self.kernels = self.add_weight(name="kernel", shape=shape, initializer=start)
        super().build(input_shape)

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        vectors, kernels = merge_leading(embeddings, 2), tf.convert_to_tensor(self.kernels)
        fields, width = vectors.shape[1:]
        if self.kernel == "num":
            left, right = pair_indices(fields)
            products = tf.reshape(tf.matmul(vectors, vectors, transpose_b=True), [-1, fields * fields])
            return split_leading(tf.gather(products, left * fields + right, axis=1) * kernels, embeddings, 2)
        # A diagonal matrix a pair costs less than the memory traffic of gathering both vectors.
        matrices = kernels if self.kernel == "mat" else tf.linalg.diag(kernels)
        products = tf.reshape(bilinear_products(vectors, matrices), [-1, kernels.shape[0], width])
        return split_leading(tf.reduce_sum(products, axis=-1), embeddings, 2)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        shape = tf.TensorShape(input_shape)
        fields, _ = checked_fields(shape)
        return shape[:-2].concatenate([fields * (fields - 1) // 2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel": self.kernel, "seed": self.seed}
