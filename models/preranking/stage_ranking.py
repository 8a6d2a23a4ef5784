"""Baselines that learn from how far each candidate got."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.cotraining.stages import pairwise_loss, side_outputs_of, stage_loss
from models.table_model import TableModel


@keras.utils.register_keras_serializable(package="consort")
class StageRanking(PeerModel):
    """One model whose scores are in the order of the stages, clicked above all: mean softplus(-(s_i - s_j)).

    Its outputs order, and are no probabilities; what decides on the best epoch is the pairwise loss itself.

    Reference: FS-LTR in "RecFlow: An Industrial Full Flow Recommendation Dataset" (ICLR 2025).

    Args:
      peers: one model.
    """

    loss_names = ("pairs",)

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        clicked = tf.cast(clicks.label * clicks.exposed > 0, tf.int64)
        return {"pairs": pairwise_loss(clicks.stage() + clicked, clicks.real, logits[0])}

    def monitored(self, terms: Mapping[str, tf.Tensor], click_losses: Sequence[tf.Tensor]) -> tf.Tensor:
        return terms["pairs"]


@keras.utils.register_keras_serializable(package="consort")
class StageHeads(PeerModel):
    """One model with an output for the click and one for each stage beyond the first, on one backbone.

    L = mean_E BCE(y, p) + stage_weight `stage_loss`: what `Duet` with `stage_weight` is without a peer.

    Args:
      peers: one model with several outputs.
      stage_weight: of the stages.

    Raises:
      ValueError: the model has one output.
    """

    loss_names = ("bce", "stage")

    def __init__(self, peers: Sequence[TableModel], stage_weight: float = 1.0, **kwargs: Any):
        self.side_outputs = side_outputs_of(peers)
        super().__init__(peers, **kwargs)
        self.stage_weight = stage_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        return {"bce": clicks.log_loss(logits[0]), "stage": self.stage_weight * stage_loss(clicks, sides[0])}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stage_weight": self.stage_weight}
