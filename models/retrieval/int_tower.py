"""IntTower."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.layers.arguments import derived_seed
from models.layers.field_weights import LightSE
from models.layers.replicas import batch_mean
from models.layers.set_vectors import SetVectors, flat_fields
from models.layers.tower import HeadTower
from models.layers.tower_caches import SIDES
from models.options import Count
from models.preranking.set_model import mean_history
from models.retrieval.tower_model import TowerModel, TowerOptions, checked_id

FLOOR = -1e9
"""Score of items that are no negatives: their share in the softmax is 0 in float32."""


@dataclass(frozen=True)
class IntTowerOptions(TowerOptions):
    """The options of `IntTower`.

    Args:
      hidden_units: widths of each tower's hidden layers; the user's tower has all but the last.
      heads: heads of each layer that the similarity compares.
      head_width: width of a head.
      cir_weight: weight of CIR, the contrastive loss; 0 turns it off.
      temperature: temperature of CIR, by which cosines are divided.
      item_feature: id feature of the item, by which CIR knows rows of the same item; None: all rows are of different
        items.
    """

    heads: Count = 4
    head_width: Count = 16
    cir_weight: float = 0.1
    temperature: float = 0.1
    item_feature: str | None = "item_id"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; expected more than 0; cosines are divided by it")


@keras.utils.register_keras_serializable(package="consort")
class IntTower(TowerModel):
    """Two towers that meet in many heads: of the user those of every layer, of the item those of the last.

    With L widths in `hidden_units`, H heads of width d, and fields of each side weighed by a `LightSE` of its own:

      user  h_0 = [request ; mean of history ; extra],  U_l = P_l h_{l-1} as H heads, l = 1 to L
      item  g_0 = [item ; extra],  V = P g_L as H heads
      FE    s = sum_l sum_a max_b <U_l^a, V^b>,  logit = scale s + bias

    Nothing reads a user's h_L, so that the user's tower ends with h_{L-1}. Scale and bias are learned and start
    at 1 and 0, where the logit is the paper's. Training adds `cir_weight` times CIR, the contrastive loss of
    the last layers' heads, u_i = U_L and v_i = V of row i with all heads in one vector of length 1:

      CIR = mean over rows with y_i = 1 of -ln( exp(<u_i, v_i> / t) / sum_j exp(<u_i, v_j> / t) )

    where j is i and all rows with other items. Under several replicas a row sees the items of its own part.

    Reference: Li et al., "IntTower: the Next Generation of Two-Tower Model for Pre-Ranking System" (CIKM 2022,
    arXiv 2210.09890). The authors' code computes CIR and leaves it out of the loss; its positives and t are
    chosen here.

    Args:
      *args: as of `TowerModel`.
      **options: see `IntTowerOptions`.

    Call arguments, output shape: as `TowerModel`; u `[B, L H d]`, v `[B, M, H d]`. Caches keep `[B, H d]` of both.

    Raises:
      ValueError: a number of heads, a width or a temperature that is none, or an unknown id.
    """

    has_auxiliary_losses: ClassVar[bool] = True
    options: IntTowerOptions

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        chosen = self.options
        if chosen.item_feature is not None:
            checked_id("item_feature", chosen.item_feature, self.embeddings.inputs, self.roles, "candidates")
        self.similarity = FEScore(chosen.heads, chosen.head_width)
        self.weighing = {name: LightSE(derived_seed(chosen.seed, f"{name} fields")) for name in SIDES}
        hidden = {"user": chosen.hidden_units[:-1], "item": chosen.hidden_units}
        self.towers = {
            name: HeadTower(hidden[name], chosen.heads * chosen.head_width, name == "user", **self._tower_options(name))
            for name in SIDES
        }

    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._of("user", tf.concat([vectors.request, mean_history(vectors)], axis=1), extra, training)

    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._of("item", vectors.candidates, extra, training)

    def _of(self, side: str, fields: tf.Tensor, extra: tf.Tensor, training: bool | None) -> tf.Tensor:
        seen = flat_fields(self.weighing[side](fields))
        return self.towers[side](tf.concat([seen, tf.cast(extra, seen.dtype)], axis=-1), training=training)

    @property
    def kept_widths(self) -> dict[str, int]:
        return dict.fromkeys(SIDES, self.options.heads * self.options.head_width)

    def kept(self, user: tf.Tensor, item: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return user[..., -self.options.heads * self.options.head_width :], item

    def auxiliary_loss(self, user: tf.Tensor, item: tf.Tensor, sides: Sequence[tf.Tensor], clicks: Clicks) -> tf.Tensor:
        asked, offered = (tf.math.l2_normalize(tf.cast(part, tf.float32), axis=-1) for part in self.kept(user, item))
        scores = tf.matmul(asked, offered, transpose_b=True) / self.options.temperature
        scores = tf.where(self._compared(clicks), scores, FLOOR)
        surprise = tf.reduce_logsumexp(scores, axis=1) - tf.linalg.diag_part(scores)
        clicked = clicks.weighted(tf.cast(clicks.label > 0, tf.float32) * clicks.exposed)
        return self.options.cir_weight * batch_mean(surprise, clicked)

    def _compared(self, clicks: Clicks) -> tf.Tensor:
        """Returns a bool mask `[B, B]` of the items in each row's sum: the row's item and all other real items."""
        diagonal = tf.eye(tf.size(clicks.label)) > 0
        others = (clicks.real > 0)[tf.newaxis]
        if self.options.item_feature is not None:
            items = clicks.features[self.options.item_feature]
            others &= items[:, tf.newaxis] != items[tf.newaxis]
        return diagonal | others


@keras.utils.register_keras_serializable(package="consort")
class FEScore(keras.layers.Layer):
    """scale sum_a max_b <u^a, v^b> + bias, over all heads a of the user and b of the item.

    Scale and bias are learned and start at 1 and 0.

    Args:
      heads: H, of an item.
      head_width: d, of one head.

    Call arguments: u `[B, A d]` of any number A of heads, and v `[B, M, H d]`.

    Output shape: `[B, M]`.
    """

    def __init__(self, heads: int, head_width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.head_width = heads, head_width

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=[], initializer="ones")
        self.bias = self.add_weight(name="bias", shape=[], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        user, item = inputs
        sizes = tf.shape(item)
        asked = tf.reshape(user, [sizes[0], user.shape[-1] // self.head_width, self.head_width])
        offered = tf.reshape(item, [sizes[0], sizes[1] * self.heads, self.head_width])
        products = tf.matmul(offered, asked, transpose_b=True)
        best = tf.reduce_max(tf.reshape(products, [sizes[0], sizes[1], self.heads, asked.shape[1]]), axis=2)
        return self.scale * tf.reduce_sum(best, axis=-1) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "head_width": self.head_width}
