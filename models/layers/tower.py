"""Towers of dense layers."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count, derived_seed
from models.layers.dense import ResumableDropout, fully_connected
from models.layers.mlp import LayerChain


@keras.utils.register_keras_serializable(package="consort")
class Tower(LayerChain):
    """Dense layers, any of which may be cycle-adaptive (CAS).

    Args:
      units: width of each layer; the last one is linear, the others have `activation`.
      cycle_adaptive: True makes every layer but the first a `CycleAdaptiveDense`.
      include_first_layer: makes the first one cycle-adaptive, too.
      activation: a Keras name.
      dropout: share of hidden activations dropped in training.
      seed: seed of weights (Glorot normal; biases 0) and dropout.

    Input shape: `[..., X]`.

    Output shape: `[..., units[-1]]`.

    Raises:
      ValueError: no layer.
    """

    def __init__(
        self,
        units: Sequence[int],
        cycle_adaptive: bool = False,
        include_first_layer: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        seed: int = 1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not units:
            raise ValueError("units is empty; expected at least one width; give the tower a last layer")
        self.units, self.activation, self.dropout, self.seed = tuple(units), activation, dropout, seed
        self.cycle_adaptive, self.include_first_layer = cycle_adaptive, include_first_layer
        self._steps: list[keras.layers.Layer] = []
        for depth, width in enumerate(self.units):
            is_last = depth == len(self.units) - 1
            adaptive = cycle_adaptive and (depth > 0 or include_first_layer)
            layer_seed = derived_seed(seed, f"layer {depth}")
            self._steps.append(fully_connected(width, None if is_last else activation, layer_seed, adaptive))
            if dropout and not is_last:
                self._steps.append(ResumableDropout(dropout, derived_seed(seed, f"dropout {depth}")))

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)[:-1].concatenate([self.units[-1]])

    def get_config(self) -> dict[str, Any]:
        names = ("cycle_adaptive", "include_first_layer", "activation", "dropout", "seed")
        return {**super().get_config(), "units": list(self.units), **{name: getattr(self, name) for name in names}}


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
      activation: activation of FC, a Keras name.
      dropout: share of hidden activations dropped in training.
      seed: seed of weights (Glorot normal; biases 0) and dropout.

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
        """Depths l whose hidden layer h_l has a head P_l."""
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
        arguments = {name: getattr(self, name) for name in names}
        return {**super().get_config(), "units": list(self.units), **arguments}
