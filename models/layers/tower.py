"""A tower: dense layers, the last one linear."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.cycle_adaptive_dense import fully_connected
from models.layers.dropout import ResumableDropout
from models.layers.layer_chain import LayerChain
from models.layers.seeds import derived_seed


@keras.utils.register_keras_serializable(package="consort")
class Tower(LayerChain):
    """Dense layers, any of which may be cycle-adaptive (CAS).

    Args:
      units: width of each layer; the last one is linear, the others have `activation`.
      cycle_adaptive: True makes every layer but the first a `CycleAdaptiveDense`.
      include_first_layer: makes the first one cycle-adaptive, too.
      activation: a Keras name.
      dropout: share of hidden activations dropped in training.
      seed: of weights (Glorot normal; biases 0) and dropout.

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
            own = derived_seed(seed, f"layer {depth}")
            self._steps.append(fully_connected(width, None if is_last else activation, own, adaptive))
            if dropout and not is_last:
                self._steps.append(ResumableDropout(dropout, derived_seed(seed, f"dropout {depth}")))

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        return tf.TensorShape(input_shape)[:-1].concatenate([self.units[-1]])

    def get_config(self) -> dict[str, Any]:
        own = ("cycle_adaptive", "include_first_layer", "activation", "dropout", "seed")
        return {**super().get_config(), "units": list(self.units), **{name: getattr(self, name) for name in own}}
