"""A block of a transformer's encoder."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count, derived_seed
from models.layers.dense import Dense, ResumableDropout
from models.layers.layer_normalization import LayerNormalization
from models.layers.linear_attention import LinearAttention


@keras.utils.register_keras_serializable(package="consort")
class TransformerBlock(keras.layers.Layer):
    """Softmax attention of a list over itself, then a dense network for each element; each sum is normalized.

      y = LayerNorm(x + dropout(W_o concat_h softmax(Q_h K_h^T / sqrt(d)) V_h))
      output = LayerNorm(y + dropout(W_2 relu(W_1 y)))

    with Q, K and V linear in x, without biases. Padding has a weight of exactly 0 in every softmax; what comes
    out at its places means nothing. Keras' own attention is not used: it starts Q, K and V alike from one seed,
    has a key bias without any effect, and marks padding by a number that is added.

    Reference: Vaswani et al., "Attention Is All You Need" (NeurIPS 2017), section 3.

    Args:
      heads: attention heads; their number must divide the input's width.
      inner_units: width of W_1 y; None: four times the input's.
      dropout: share of activations dropped in training.
      seed: seed of weights (Glorot normal; biases 0) and dropout.

    Call arguments:
      elements: `[B, N, W]`; N may be 0.
      mask: bool `[B, N]`, True for real elements; None: all are real.

    Output shape: `[B, N, W]`.

    Raises:
      ValueError: `heads` does not divide W, or a number less than 1.
    """

    def __init__(
        self, heads: int = 4, inner_units: int | None = None, dropout: float = 0.0, seed: int = 1, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.heads, self.dropout, self.seed = checked_count("heads", heads), dropout, seed
        self.inner_units = None if inner_units is None else checked_count("inner_units", inner_units)
        self.norms = [LayerNormalization(name=name) for name in ("norm_attention", "norm_inner")]
        self.drops = [
            ResumableDropout(dropout, derived_seed(seed, f"dropout {part}"))
            for part in (("attention", "inner") if dropout else ())
        ]

    def build(self, input_shape: Any) -> None:
        shape = tf.TensorShape(input_shape)
        width = int(shape[-1])
        inner = 4 * width if self.inner_units is None else self.inner_units
        self.attention = LinearAttention(width, self.heads, "exact", derived_seed(self.seed, "attention"))
        self.joined, self.first, self.last = (
            self._dense("joined", width),
            self._dense("first", inner, "relu"),
            self._dense("last", width),
        )
        layers: tuple[keras.layers.Layer, ...] = (self.joined, self.first, *self.norms, *self.drops)
        for layer in layers:
            layer.build(shape)
        self.last.build(shape[:-1].concatenate([inner]))
        super().build(input_shape)

    def _dense(self, part: str, width: int, activation: str | None = None) -> Dense:
        start = keras.initializers.GlorotNormal(seed=derived_seed(self.seed, part))
        return Dense(width, activation=activation, kernel_initializer=start, name=part)

    def call(self, elements: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = None) -> tf.Tensor:
        attended, _ = self.attention(elements, elements, mask)
        seen = self._summed(0, elements, self.joined(attended), training)
        return self._summed(1, seen, self.last(self.first(seen)), training)

    def _summed(self, place: int, before: tf.Tensor, change: tf.Tensor, training: bool | None) -> tf.Tensor:
        if self.drops:
            change = self.drops[place](change, training=training)
        return self.norms[place](before + change)

    def get_config(self) -> dict[str, Any]:
        names = ("heads", "inner_units", "dropout", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
