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

    Output shape: `[...]`.
    """

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(embeddings, axis=-2)
        squares = tf.reduce_sum(tf.square(embeddings), axis=[-2, -1])
        return (tf.reduce_sum(tf.square(total), axis=-1) - squares) / 2

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)[:-2]
