"""Two towers, of which the user's reads the history with a transformer."""

from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.dense import Dense
from models.layers.recency import Recency
from models.layers.set_vectors import SetVectors, flat_fields
from models.layers.transformer_block import TransformerBlock
from models.options import Count
from models.retrieval.tower_model import TowerModel, TowerOptions, item_fields


@dataclass(frozen=True)
class TransformerTwoTowerOptions(TowerOptions):
    """The options of `TransformerTwoTower`.

    Args:
      dropout: share of hidden activations dropped in training, also in the blocks.
      blocks: number of transformer blocks.
      heads: attention heads of each block.
      width: width of the transformer's elements; a multiple of `heads`.
      pool: pooling of the transformer's output: `mean` over the history, or its `last`, most recent element.
      max_positions: number of learned position vectors; older elements share the last one.
    """

    blocks: Count = 1
    heads: Count = 4
    width: Count = 64
    pool: Literal["mean", "last"] = "mean"
    max_positions: Count = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(
                f"width is {self.width}, heads {self.heads}; expected a multiple of heads; correct one of them"
            )


@keras.utils.register_keras_serializable(package="consort")
class TransformerTwoTower(TowerModel):
    """Two towers like those of `DSSM`, with a transformer over the history in place of its mean.

      x_n = W s_n + r_k,  k how many events ago s_n was
      u = MLP_u([request ; pool of transformer(x) ; extra]),  v = MLP_v([item ; extra]),  logit = scale <u, v> + bias

    The pool is over the real elements, and zeros where there are none. Without a history in the inputs u is
    MLP_u([request ; extra]).

    Reference: after Chen et al., "Behavior Sequence Transformer for E-commerce Recommendation in Alibaba"
    (BST, 2019, arXiv 1905.06874), whose sequence includes the target item, which a tower cannot see.

    Args:
      *args: as of `TowerModel`.
      **options: see `TransformerTwoTowerOptions`.

    Call arguments, output shape: as `TowerModel`.

    Raises:
      ValueError: a number less than 1, a width that `heads` does not divide, or an unknown pool.
    """

    options: TransformerTwoTowerOptions

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        chosen = self.options
        has_history = "history" in self.roles.values()
        start = keras.initializers.GlorotNormal(seed=derived_seed(chosen.seed, "history"))
        self.narrow: Any = Dense(chosen.width, kernel_initializer=start) if has_history else None
        self.positions: Any = Recency(chosen.max_positions - 1) if has_history else None
        self.encoder = [
            TransformerBlock(chosen.heads, dropout=chosen.dropout, seed=derived_seed(chosen.seed, f"block {depth}"))
            for depth in range(chosen.blocks if has_history else 0)
        ]
        self.towers = self._dense_towers()

    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        seen = [flat_fields(vectors.request)]
        if self.narrow is not None:
            seen.append(self._read(vectors, training))
        return self.towers["user"](tf.concat([*seen, tf.cast(extra, seen[0].dtype)], axis=-1), training=training)

    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.towers["item"](item_fields(vectors, extra), training=training)

    def _read(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        """Returns the pooled output of the transformer over a history, `[B, W]`."""
        mask = vectors.history_mask
        elements = self.positions(self.narrow(flat_fields(vectors.history)), mask)
        for block in self.encoder:
            elements = block(elements, mask, training=training)
        counted = mask
        if self.options.pool == "last":
            counted &= tf.cumsum(tf.cast(mask, tf.int32), axis=1, exclusive=True, reverse=True) == 0
        share = tf.cast(counted, elements.dtype)[..., tf.newaxis]
        return tf.reduce_sum(elements * share, axis=1) / tf.maximum(tf.reduce_sum(share, axis=1), 1)
