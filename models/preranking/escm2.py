"""Baseline: exposure and click as tasks of one backbone, as ESCM2 has click and conversion."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.table_model import TableModel
from models.training.losses import cross_entropies


@keras.utils.register_keras_serializable(package="consort")
class Escm2(PeerModel):
    """One model with outputs for click given exposure, p, and exposure, o'.

    L = mean BCE(o, o') + click_weight mean_all [o BCE(y, p) / max(sg(o'), clip)] + joint_weight mean BCE(o y, o' p)

    Means are over all real candidates. ESCM2's style, inverse-propensity variant: exposure stands for its
    click, click for its conversion.

    Reference: Wang et al., "ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion
    Rate Estimation" (SIGIR 2022), equations 9 and 14; Ma et al., "Entire Space Multi-Task Model" (SIGIR 2018).

    Args:
      peers: one model with two outputs.
      click_weight, joint_weight: as above.
      clip: least propensity.

    Raises:
      ValueError: not one model with two outputs.
    """

    loss_names = ("bce", "exposure", "joint")
    side_outputs = (1,)

    def __init__(
        self,
        peers: Sequence[TableModel],
        click_weight: float = 0.1,
        joint_weight: float = 1.0,
        clip: float = 0.05,
        **kwargs: Any,
    ):
        if len(peers) != 1 or peers[0].outputs != 2:
            raise ValueError("expected one model with outputs=2: the click's and the exposure's")
        super().__init__(peers, **kwargs)
        self.click_weight, self.joint_weight, self.clip = click_weight, joint_weight, clip

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        click, (exposure,) = logits[0], sides[0]
        weight = clicks.exposed / tf.maximum(tf.stop_gradient(tf.sigmoid(exposure)), self.clip)
        both = tf.exp(tf.math.log_sigmoid(click) + tf.math.log_sigmoid(exposure))
        return {
            "bce": self.click_weight * clicks.mean_over_real(weight * cross_entropies(clicks.label, click)),
            "exposure": clicks.mean_over_real(cross_entropies(clicks.exposed, exposure)),
            "joint": self.joint_weight
            * clicks.mean_over_real(keras.backend.binary_crossentropy(clicks.exposed * clicks.label, both)),
        }

    def get_config(self) -> dict[str, Any]:
        own = ("click_weight", "joint_weight", "clip")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
