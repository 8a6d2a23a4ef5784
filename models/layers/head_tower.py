"""A tower that gives vectors of several of its layers."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.choices import checked_count
from models.layers.cycle_adaptive_dense import fully_connected
from models.layers.dropout import ResumableDropout
from models.layers.seeds import derived_seed


@keras.utils.register_keras_serializable(package="consort")
class HeadTower(keras.layers.Layer):
    """h_0 = x, h_l = dropout(activation(FC_l h_{l-1})); output P_n h_n, or [P_0 h_0 ; ... ; P_n h_n].

    Reference: Li et al., "IntTower: the Next Generation of Two-Tower Model for Pre-Ranking System" (CIKM
    2022, arXiv 2210.09890), the FE-Block.

    Args:
      units: widths of h_1 to h_n; empty: n is 0.
      head_units: width of each P_l h_l, a linear layer with a bias.
      every_layer: gives all n + 1 vectors, the last layer's last; False gives that alone.
      cycle_adaptive: True makes every FC but the first a `CycleAdaptiveDense`.
      include_first_layer: makes the first one cycle-adaptive, too.
      activation: of FC, a Keras name.
      dropout: share of hidden activations dropped in training.
      seed: of weights (Glorot normal; biases 0) and dropout.

    Input shape: `[..., X]`.

    Output shape: `[..., head_units]`, or `[..., (n + 1) head_units]`.

    Raises:
      ValueError: `head_units` is less than 1.
    """

    def __init__(
        self,
        units: Sequence[int],
        head_units: int,
        every_layer: bool = False,
        cycle_adaptive: bool = False,
        include_first_layer: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        seed: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units, self.head_units = tuple(units), checked_count("head_units", head_units)
        self.every_layer, self.cycle_adaptive, self.include_first_layer = (
            every_layer,
            cycle_adaptive,
            include_first_layer,
        )
        self.activation, self.dropout, self.seed = activation, dropout, seed
        self.hidden = [self._hidden(depth, width) for depth, width in enumerate(self.units)]
        self.drops = [ResumableDropout(dropout, derived_seed(seed, f"dropout {depth}")) for depth in self._dropped()]
        self.heads = {
            str(depth): fully_connected(head_units, None, derived_seed(seed, f"head {depth}"), False)
            for depth in self._emitting()
        }

    def _dropped(self) -> range:
        return range(len(self.units) if self.dropout else 0)

    def _emitting(self) -> range:
        """Depths whose h_l has a P_l."""
        return range(0 if self.every_layer else len(self.units), len(self.units) + 1)

    def _hidden(self, depth: int, width: int) -> keras.layers.Layer:
        adaptive = self.cycle_adaptive and (depth > 0 or self.include_first_layer)
        return fully_connected(width, self.activation, derived_seed(self.seed, f"layer {depth}"), adaptive)

    def build(self, input_shape: Any) -> None:
        shape = tf.TensorShape(input_shape)
        shapes = [shape, *(shape[:-1].concatenate([width]) for width in self.units)]
        for depth, layer in enumerate(self.hidden):
            layer.build(shapes[depth])
        for depth, drop in enumerate(self.drops):
            drop.build(shapes[depth + 1])
        for place, head in self.heads.items():
            head.build(shapes[int(place)])
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        hidden, layers = inputs, [inputs]
        for depth, layer in enumerate(self.hidden):
            hidden = layer(hidden)
            if self.drops:
                hidden = self.drops[depth](hidden, training=training)
            layers.append(hidden)
        return tf.concat([head(layers[int(depth)]) for depth, head in self.heads.items()], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)[:-1].concatenate([len(self.heads) * self.head_units])

    def get_config(self) -> dict[str, Any]:
        names = ("head_units", "every_layer", "cycle_adaptive", "include_first_layer", "activation", "dropout", "seed")
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), "units": list(self.units), **own}
