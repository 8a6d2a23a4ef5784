"""Second-order interactions of a factorization machine."""

from typing import Any

import tensorflow as tf
import tf_keras as keras


@keras.utils.register_keras_serializable(package="consort")
class FactorizationMachine(keras.layers.Layer):
    """Sum of the inner products of all pairs of field vectors, in O(F D).

    sum_{i<j} <e_i, e_j> = 1/2 (||sum_i e_i||^2 - sum_i ||e_i||^2)

    Reference: Rendle, "Factorization Machines" (ICDM 2010), lemma 3.1.

    Input shape: `[..., F, D]`.

    Output shape: `[...]`, in float32 under a mixed-precision policy, too: the difference of the two
    sums would lose what bfloat16 holds.
    """

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        return _sum_of_pairs(tf.cast(embeddings, self.variable_dtype))

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)[:-2]


@tf.custom_gradient
def _sum_of_pairs(vectors: tf.Tensor) -> Any:
    total = tf.reduce_sum(vectors, axis=-2)
    squares = tf.reduce_sum(tf.square(vectors), axis=[-2, -1])

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # d/d e_i = sum_{j != i} e_j, one pass over the vectors where autodiff needs three.
        return upstream[..., tf.newaxis, tf.newaxis] * (total[..., tf.newaxis, :] - vectors)

    return (tf.reduce_sum(tf.square(total), axis=-1) - squares) / 2, gradient
