"""The first dense layer over what a set ranker knows of a candidate, and the normalization of its attention."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.dense import TiledDense
from models.layers.layer_normalization import standardized
from models.layers.set_vectors import FactoredFields, product


@keras.utils.register_keras_serializable(package="consort")
class StreamNorm(keras.layers.Layer):
    """Layer normalization, of which the scale and the shift are left to `SetDense`.

    Args:
      width: width of the stream.

    Input shape: `[..., width]`.

    Output shape: the same: standardized, but not scaled by `gamma` nor shifted by `beta`.
    """

    def __init__(self, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width = width
        self.gamma = self.add_weight(name="gamma", shape=[width], initializer="ones")
        self.beta = self.add_weight(name="beta", shape=[width], initializer="zeros")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(standardized(tf.cast(inputs, tf.float32)), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class SetDense(TiledDense):
    """y = H K + b for H = [C ; gamma_k N_k + beta_k, ... ; X ; u, tiled], without making H.

    C are the candidates' fields, N_k standardized streams, u the user's and the context's fields; X are the inner
    products of each of these with each candidate field. What all candidates of a request share, and what scales or
    shifts all rows, moves into the kernel or the bias.

    Args:
      units: width of the output; no activation.
      own_width: width of C, all N_k and X together.
      shared_width: width of u.
      seed: seed of the weights, as in `TiledDense`.

    Call arguments:
      fields: `[B, M, F D]`.
      streams: N_k `[B, M, W]` and the layer that normalized it.
      request: `[B, Fr, D]`.
      cross: False leaves X out.

    Output shape: `[B, M, units]`.
    """

    def __init__(self, units: int, own_width: int, shared_width: int, seed: int = 1, **kwargs: Any):
        super().__init__(units, seed, **kwargs)
        self.own_width, self.shared_width = own_width, shared_width

    def build(self, input_shape: Any) -> None:
        super().build(([None, None, self.own_width], [None, self.shared_width]))

    def call(  # type: ignore[override]
        self,
        fields: FactoredFields,
        streams: Sequence[tuple[tf.Tensor, StreamNorm]],
        request: tf.Tensor,
        cross: bool = True,
    ) -> tf.Tensor:
        user_fields, width = request.shape[1:]
        candidate_fields = fields.width // width
        products = user_fields * candidate_fields if cross else 0
        sizes = [fields.width, *(stream.shape[-1] for stream, _ in streams), products]
        of_fields, *of_streams, of_products = tf.split(self._own, sizes)
        columns, kernels = [fields.columns], [fields.rows(of_fields)]
        bias = tf.convert_to_tensor(self._bias)
        for (stream, norm), kernel in zip(streams, of_streams, strict=True):
            columns.append(stream)
            kernels.append(norm.gamma[:, tf.newaxis] * kernel)
            bias += tf.linalg.matvec(kernel, norm.beta, transpose_a=True)
        if products:
            columns.append(_inner_products(fields, request))
            by_user = tf.reshape(of_products, [user_fields, candidate_fields, self.units])
            kernels.append(tf.reshape(tf.transpose(by_user, [1, 0, 2]), [products, self.units]))
        outputs = product(tf.concat(columns, -1), tf.concat(kernels, 0))
        if self._shared is not None:
            bias += tf.reshape(request, [-1, user_fields * width]) @ self._shared
            return outputs + bias[:, tf.newaxis]
        return outputs + bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "own_width": self.own_width, "shared_width": self.shared_width}


def _inner_products(fields: FactoredFields, request: tf.Tensor) -> tf.Tensor:
    """Returns the inner products of each candidate field with each user field, `[B, M, F Fr]`.

    They are one product of the columns with a matrix for each request, `[C + S, F Fr]`, which has blocks on its
    diagonal: the user's fields for a vector, and their inner products with v_i for a number.
    """
    batch, (user_fields, width) = tf.shape(request)[0], request.shape[1:]
    numbers, count = fields.vectors.shape[0], fields.width // width
    user = tf.transpose(request, [0, 2, 1])
    diagonal = tf.eye(count, dtype=request.dtype)
    others = diagonal[: count - numbers, tf.newaxis, :, tf.newaxis] * user[:, tf.newaxis, :, tf.newaxis]
    last = diagonal[count - numbers :, :, tf.newaxis] * tf.matmul(fields.vectors, user)[:, :, tf.newaxis]
    blocks = [tf.reshape(others, [batch, (count - numbers) * width, count * user_fields])]
    blocks.append(tf.reshape(last, [batch, numbers, count * user_fields]))
    return fields.columns @ tf.concat(blocks, axis=1)
