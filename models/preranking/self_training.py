"""Baseline: a model labels its own unexposed candidates."""

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.cotraining.pseudo_labels import conditional_loss
from models.table_model import TableModel


@keras.utils.register_keras_serializable(package="consort")
class SelfTraining(PeerModel):
    """One model, whose own probabilities are labels where there are none.

    Soft, t_i = sg(p_i): the gradient of such a label's loss is exactly 0, so that under `union` the exposed
    loss is only scaled by |E| / |E + N|, and under `group_mean` nothing changes. Hard: t_i = 1 above
    `positive_above`, 0 below `negative_below`; what lies between counts for nothing.

    Args:
      peers: one model.
      hard: labels are cut by the thresholds.
      positive_above, negative_below: the thresholds.
      average: as in `conditional_loss`.
      unexposed_weight: of pseudo-labels.
    """

    loss_names = ("bce",)

    def __init__(
        self,
        peers: Sequence[TableModel],
        hard: bool = False,
        positive_above: float = 0.9,
        negative_below: float = 0.1,
        average: Literal["union", "group_mean"] = "union",
        unexposed_weight: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(peers, **kwargs)
        if not 0 <= negative_below <= positive_above <= 1:
            raise ValueError(
                f"negative_below is {negative_below}, positive_above {positive_above}; expected them in [0, 1], in "
                "this order; correct them"
            )
        self.hard, self.positive_above, self.negative_below = hard, positive_above, negative_below
        self.average, self.unexposed_weight = average, unexposed_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        labels, weight = tf.stop_gradient(tf.sigmoid(logits[0])), tf.constant(self.unexposed_weight, tf.float32)
        if self.hard:
            sure = (labels > self.positive_above) | (labels < self.negative_below)
            labels, weight = tf.round(labels), weight * tf.cast(sure, tf.float32)
        return {"bce": conditional_loss(clicks, logits[0], labels, weight, self.average)}

    def get_config(self) -> dict[str, Any]:
        own = ("hard", "positive_above", "negative_below", "average", "unexposed_weight")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
