"""Baseline: a teacher labels what was not exposed, weighed by how sure the student is, as UKD has it."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.cotraining.pseudo_labels import symmetric_kl
from models.table_model import TableModel
from models.training.losses import cross_entropies


@keras.utils.register_keras_serializable(package="consort")
class UncertaintyDistillation(PeerModel):
    """A student of two heads fits clicks on E and a teacher's labels on N; the teacher fits clicks on E alone.

    With u the symmetric KL divergence of the student's heads, p^T the teacher's probability:

      L = mean_E BCE(y, p^T) + for each head mean_E BCE(y, p) + unexposed_weight mean_N [exp(-u) BCE(sg(p^T), p) + u]

    UKD's style: its teacher learns features that an adversary cannot tell clicked items by; ours does not.

    Reference: Xu et al., "UKD: Debiasing Conversion Rate Estimation via Uncertainty-regularized Knowledge
    Distillation" (WWW 2022, arXiv 2201.08024), section 3.3.

    Args:
      peers: the student, with two outputs, and the teacher.
      unexposed_weight: of N.

    Raises:
      ValueError: other peers.
    """

    loss_names = ("bce", "teacher", "distillation")

    def __init__(self, peers: Sequence[TableModel], unexposed_weight: float = 1.0, **kwargs: Any):
        if len(peers) != 2 or peers[0].outputs != 2:
            raise ValueError("expected a student with outputs=2 and a teacher")
        self.side_outputs = (0, peers[1].outputs)
        super().__init__(peers, **kwargs)
        self.unexposed_weight = unexposed_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        teacher = sides[1][0]
        label = tf.stop_gradient(tf.sigmoid(teacher))
        doubt = symmetric_kl(logits[0], logits[1])
        told = [tf.exp(-doubt) * cross_entropies(label, own) + doubt for own in logits]
        return {
            "bce": tf.add_n([clicks.log_loss(own) for own in logits]),
            "teacher": clicks.log_loss(teacher),
            "distillation": self.unexposed_weight * clicks.mean_over_unexposed(tf.add_n(told)),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unexposed_weight": self.unexposed_weight}
