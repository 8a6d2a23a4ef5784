"""Mutual learning: click models that finetune each other."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.ranking.field_model import FieldModel

MutualLoss = Literal["mse", "logit_mse", "symmetric_kl"]


@keras.utils.register_keras_serializable(package="consort")
class MutualLearning(PeerModel):
    """K peers, each of which fits the clicks and comes near the others' probabilities.

    With p_n the probability of peer n, N peers, and all p_i with i != n constant in peer n's loss:

      (1) L_MSE(p_a, p_b) = (p_a - p_b)^2
      (2) L_BCE(p, y) = -[y ln p + (1 - y) ln(1 - p)]
      (3) L_n = L_BCE(p_n, y) + mutual_weight / (N - 1) sum_{i != n} L_MSE(p_i, p_n)

    All peers step at once, from one forward pass. One peer alone has plain (2).

    Reference: "Mutual Learning for Finetuning Click-Through Rate Prediction Models" (2024, arXiv
    2406.12087), equations 1 to 3.

    Args:
      peers: models of one or several classes over the same features; `load_peer` gives them pretrained weights.
      mutual_weight: 0 trains the peers side by side, without a word to each other.
      loss: distance of two peers: `mse` of probabilities (the paper's), `logit_mse`, or `symmetric_kl`,
        1/2 (p_i - p_n)(logit p_i - logit p_n).
      stop_gradient: False lets each loss move all peers, which doubles the pull between two.

    Call arguments, output shape: as `PeerModel`.

    Raises:
      ValueError: no peer, peers whose features differ, a negative weight or an unknown loss.
    """

    def __init__(
        self,
        peers: Sequence[FieldModel],
        mutual_weight: float = 1.0,
        loss: MutualLoss = "mse",
        stop_gradient: bool = True,
        **kwargs: Any,
    ):
        super().__init__(peers, **kwargs)
        self.check(mutual_weight, loss)
        self.mutual_weight, self.mutual_loss, self.stop_gradient = float(mutual_weight), loss, stop_gradient

    @staticmethod
    def check(mutual_weight: float, loss: str) -> None:
        """Refuses wrong options.

        Raises:
          ValueError: a negative weight or an unknown loss.
        """
        if mutual_weight < 0:
            raise ValueError(f"mutual_weight is {mutual_weight}; expected 0 or more; 1 is the paper's")
        if loss not in get_args(MutualLoss):
            raise ValueError(
                f"loss is {loss!r}; expected one of {', '.join(get_args(MutualLoss))}; 'mse' is the paper's"
            )

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("bce", "mutual")

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        bce = tf.add_n([clicks.log_loss(own) for own in logits])
        return {"bce": bce, "mutual": self._mutual(clicks, tf.stack(list(logits), axis=-1))}

    def _mutual(self, clicks: Clicks, logits: tf.Tensor) -> tf.Tensor:
        if len(self.peers) == 1 or not self.mutual_weight:
            return tf.zeros([])
        distances = self._distances(logits)  # [..., K, K]
        each = tf.reduce_sum(distances, axis=[-2, -1]) / (len(self.peers) - 1)
        return self.mutual_weight * clicks.mean_over_exposed(each)

    def _distances(self, logits: tf.Tensor) -> tf.Tensor:
        """Of each peer (last axis) to each other (the axis before), zero on the diagonal."""

        def differences(values: tf.Tensor) -> tf.Tensor:
            others = tf.stop_gradient(values) if self.stop_gradient else values
            return values[..., tf.newaxis, :] - others[..., tf.newaxis]

        if self.mutual_loss == "logit_mse":
            return tf.square(differences(logits))
        probabilities = tf.sigmoid(logits)
        if self.mutual_loss == "symmetric_kl":
            return differences(probabilities) * differences(logits) / 2
        return tf.square(differences(probabilities))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mutual_weight": self.mutual_weight,
            "loss": self.mutual_loss,
            "stop_gradient": self.stop_gradient,
        }
