"""Products of pairs of fields."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_choice
from models.layers.axes import merge_leading, split_leading


def pair_indices(num_fields: int) -> tuple[np.ndarray, np.ndarray]:
    """The left and the right field of each of the F (F - 1) / 2 pairs."""
    left, right = np.triu_indices(num_fields, 1)
    return left.astype(np.int32), right.astype(np.int32)


def checked_fields(input_shape: Any) -> tuple[int, int]:
    """F and D of the shape `[..., F, D]`.

    Raises:
      ValueError: fewer than two fields, or a size that is not known.
    """
    fields, width = tf.TensorShape(input_shape)[-2:]
    if fields is None or width is None or fields < 2:
        raise ValueError(
            f"the embeddings have the shape {tuple(input_shape)}; expected [..., F, D] with F at least 2 and both "
            "known: an interaction needs a pair; declare another feature, or take a model without products"
        )
    return fields, width


@tf.custom_gradient
def bilinear_products(vectors: tf.Tensor, kernels: tf.Tensor) -> Any:
    """(e_i W_ij) * e_j, elementwise, of each pair.

    One matrix product a left field, and a gradient written by hand: autodiff would copy each e_j from a
    slice of its own and add the slices' gradients up at the full width, which costs twice the time.

    Args:
      vectors: `[N, F, D]`.
      kernels: `[P, D, D]`, one W a pair.

    Returns:
      `[N, P * D]`.
    """
    fields, width = vectors.shape[1:]
    flat = tf.reshape(vectors, [-1, fields * width])
    split = tf.split(flat, fields, axis=1)
    later = [flat[:, (i + 1) * width :] for i in range(fields - 1)]
    counts = [fields - 1 - i for i in range(fields - 1)]
    # One matrix a left field, [D, (F - 1 - i) * D].
    matrices = [_side_by_side(part) for part in tf.split(kernels, counts)]
    lefts = [tf.matmul(vector, matrix) for vector, matrix in zip(split, matrices, strict=False)]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parts = tf.split(upstream, [count * width for count in counts], axis=1)
        to_left = [part * right for part, right in zip(parts, later, strict=True)]
        to_own = [tf.matmul(part, matrix, transpose_b=True) for part, matrix in zip(to_left, matrices, strict=True)]
        to_kernels = [tf.matmul(vector, part, transpose_a=True) for vector, part in zip(split, to_left, strict=False)]
        to_later = _suffix_sums([part * left for part, left in zip(parts, lefts, strict=True)], width)
        # Field 0 is never a right one, and the last one never a left one.
        to_flat = tf.concat([to_own[0], *map(tf.add, to_own[1:], to_later[:-1]), to_later[-1]], axis=1)
        return tf.reshape(to_flat, tf.shape(vectors)), tf.concat([_stacked(part, width) for part in to_kernels], axis=0)

    return tf.concat([left * right for left, right in zip(lefts, later, strict=True)], axis=1), gradient


def _side_by_side(kernels: tf.Tensor) -> tf.Tensor:
    """`[P, D, D]` as `[D, P * D]`."""
    return tf.reshape(tf.transpose(kernels, [1, 0, 2]), [kernels.shape[1], -1])


def _stacked(matrix: tf.Tensor, width: int) -> tf.Tensor:
    """`[D, P * D]` as `[P, D, D]`."""
    return tf.transpose(tf.reshape(matrix, [width, -1, width]), [1, 0, 2])


def _suffix_sums(parts: list[tf.Tensor], width: int) -> list[tf.Tensor]:
    """For each field j > 0 the sum over i < j of its columns in part i, which begins with field i + 1."""
    sums, running = [], parts[0]
    for part in parts[1:]:
        sums.append(running[:, :width])
        running = running[:, width:] + part
    return [*sums, running]


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


KERNELS = ("mat", "vec", "num")


@keras.utils.register_keras_serializable(package="consort")
class OuterProduct(InnerProduct):
    """For each pair of fields i < j the sum of e_i e_j^T weighed elementwise by a kernel K_ij.

    `mat`: e_i^T K_ij e_j, K a full matrix, D^2 weights a pair.
    `vec`: sum_k K_ij,k e_i,k e_j,k, K diagonal, D weights a pair.
    `num`: K_ij <e_i, e_j>, K one number a pair.

    Reference: Qu et al., "Product-based Neural Networks for User Response Prediction over Multi-field
    Categorical Data" (TOIS 2018), kernel products. The first paper (ICDM 2016) sums the fields before the outer
    product, which leaves no weight to a pair.

    Args:
      kernel: `mat`, `vec` or `num`.
      seed: seed of the kernels: N(0, 1/D) for `mat` (Glorot), N(0, 1) for `vec` and `num`, whose products
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
        kernels = tf.convert_to_tensor(self.kernels)
        if self.kernel == "num":
            return super().call(embeddings) * kernels
        vectors = merge_leading(embeddings, 2)
        # A diagonal matrix a pair costs less than the memory traffic of gathering both vectors.
        matrices = kernels if self.kernel == "mat" else tf.linalg.diag(kernels)
        products = tf.reshape(bilinear_products(vectors, matrices), [-1, kernels.shape[0], vectors.shape[-1]])
        return split_leading(tf.reduce_sum(products, axis=-1), embeddings, 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernel": self.kernel, "seed": self.seed}


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
      seed: seed of the matrices, each Glorot normal.

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
