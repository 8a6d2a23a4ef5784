"""Baseline: what was not exposed counts as not clicked."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.cotraining.pseudo_labels import conditional_loss
from models.table_model import TableModel


@keras.utils.register_keras_serializable(package="consort")
class UnexposedNegatives(PeerModel):
    """One model, for which the unexposed candidates N have label 0.

    L = 1/|E + N| (sum_E BCE(y, p) + unexposed_weight sum_N BCE(0, p)); weight 0 is the weight-matched control
    of co-training: the exposed loss alone, as small as it is in DUET's equation 11.

    Reference: `all` of the stage-negative baselines of "RecFlow" (ICLR 2025).

    Args:
      peers: one model.
      unexposed_weight: of N.
    """

    loss_names = ("bce",)

    def __init__(self, peers: Sequence[TableModel], unexposed_weight: float = 1.0, **kwargs: Any):
        super().__init__(peers, **kwargs)
        self.unexposed_weight = unexposed_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        zeros = tf.zeros_like(logits[0])
        return {"bce": conditional_loss(clicks, logits[0], zeros, self.unexposed_weight)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unexposed_weight": self.unexposed_weight}
