"""Pairs of fields i < j, in the order (0, 1), (0, 2), ..., (1, 2), ..., and what layers compute for each."""

from typing import Any

import numpy as np
import tensorflow as tf


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
    own = tf.split(flat, fields, axis=1)
    later = [flat[:, (i + 1) * width :] for i in range(fields - 1)]
    counts = [fields - 1 - i for i in range(fields - 1)]
    # One matrix a left field, [D, (F - 1 - i) * D].
    matrices = [_side_by_side(part) for part in tf.split(kernels, counts)]
    lefts = [tf.matmul(vector, matrix) for vector, matrix in zip(own, matrices, strict=False)]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parts = tf.split(upstream, [count * width for count in counts], axis=1)
        to_left = [part * right for part, right in zip(parts, later, strict=True)]
        to_own = [tf.matmul(part, matrix, transpose_b=True) for part, matrix in zip(to_left, matrices, strict=True)]
        to_kernels = [tf.matmul(vector, part, transpose_a=True) for vector, part in zip(own, to_left, strict=False)]
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
