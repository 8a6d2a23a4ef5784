"""DUET: two rankers that label each other's unexposed candidates."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.cotraining.pseudo_labels import conditional_loss, symmetric_kl
from models.cotraining.schedules import ScheduledWeight, WeightSchedule
from models.cotraining.stages import side_outputs_of, stage_loss
from models.layers.choices import checked_choice
from models.table_model import TableModel

Average = Literal["union", "group_mean"]
Support = Literal["real", "unexposed"]
AGREEMENT = 0.01
"""Peers agree on a candidate whose probabilities differ by less: the monitor of view collapse counts them."""


@keras.utils.register_keras_serializable(package="consort")
class Duet(PeerModel):
    """Two rankers, trained side by side, each of which takes the other's probabilities for labels where there are none.

    With E the exposed candidates of a batch, N the unexposed ones, p^k the probability of peer k, sg a
    stop-gradient:

      (8, 10) t_i^A = y_i for i in E, sg(p_i^B) for i in N; t^B likewise
      (11) L_k = -1/|E + N| sum_i [t_i^k ln p_i^k + (1 - t_i^k) ln(1 - p_i^k)]
      (9) L_con = mean_i 1/2 (p_i^A - p_i^B)(logit p_i^A - logit p_i^B), the symmetric KL divergence
      L = L_A + L_B + consistency_weight L_con

    Both peers step at once, from one forward pass each. One of them is served.

    Reference: "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369),
    equations 8 to 11. Averages, the support of (9) and what follows `average` are not published.

    Args:
      peers: two models with one output, or one with two: heads on a shared backbone.
      consistency_weight: lambda.
      consistency_schedule, consistency_steps: see `ScheduledWeight`.
      consistency_support: candidates that (9) is over: all `real` ones or the `unexposed` ones.
      average: `union`, as (11); or `group_mean`: mean over E + `unexposed_weight` mean over N.
      unexposed_weight: weight of the pseudo-labelled part.
      warmup_steps: in which that weight grows from 0.
      label_temperature: pseudo-labels are sigmoid(logit / temperature): below 1 they are sharper.
      by_confidence: True weighs a pseudo-label by |2 p - 1|, which a peer that does not know has near 0.
      stage_weight: of `stage_loss`: each peer also learns, from the log itself, how far each candidate got.
        Above 0 a model needs an output for the click and one for each stage beyond the first.

    Call arguments, output shape: as `PeerModel`; metrics beside those of `PeerModel`: `agreement`, the
    share of candidates on which the peers' probabilities differ by less than 0.01, `disagreement`, their mean
    absolute difference on unexposed candidates, and `prediction/unexposed`, their mean there.

    Raises:
      ValueError: not two outputs, or an option outside its domain.
    """

    def __init__(
        self,
        peers: Sequence[TableModel],
        consistency_weight: float = 0.1,
        consistency_schedule: WeightSchedule = "constant",
        consistency_steps: int = 0,
        consistency_support: Support = "real",
        average: Average = "union",
        unexposed_weight: float = 1.0,
        warmup_steps: int = 0,
        label_temperature: float = 1.0,
        by_confidence: bool = False,
        stage_weight: float = 0.0,
        **kwargs: Any,
    ):
        self.stage_weight = stage_weight
        if stage_weight:
            self.side_outputs = side_outputs_of(peers)
        super().__init__(peers, **kwargs)
        if len(self.peer_names) != 2:
            raise ValueError(
                f"peers have {len(self.peer_names)} outputs together; expected 2; "
                "give two models, or one with outputs=2"
            )
        checked_choice("average", average, get_args(Average))
        checked_choice("consistency_support", consistency_support, get_args(Support))
        if label_temperature <= 0:
            raise ValueError(f"label_temperature is {label_temperature}; expected above 0; 1 keeps the labels")
        self.consistency = ScheduledWeight(consistency_weight, consistency_schedule, consistency_steps)
        self.pseudo_labels = ScheduledWeight(unexposed_weight, "ramp" if warmup_steps else "constant", warmup_steps)
        self.average, self.consistency_support = average, consistency_support
        self.label_temperature, self.by_confidence = label_temperature, by_confidence
        names = ("agreement", "disagreement", "prediction/unexposed")
        self._monitors = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("bce", "consistency", "stage") if self.stage_weight else ("bce", "consistency")

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        step = self.optimizer.iterations if self.optimizer is not None else 0
        share = self.pseudo_labels.at(step)
        own = [
            conditional_loss(clicks, logits[k], self._labels(logits[1 - k]), share, self.average, self.by_confidence)
            for k in (0, 1)
        ]
        distance = symmetric_kl(logits[0], logits[1])
        over = clicks.mean_over_real if self.consistency_support == "real" else clicks.mean_over_unexposed
        terms = {"bce": tf.add_n(own), "consistency": self.consistency.at(step) * over(distance)}
        if self.stage_weight:
            told = [stage_loss(clicks, beside) for beside in sides]
            terms["stage"] = self.stage_weight * tf.add_n(told)
        return terms

    def _labels(self, peer_logits: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(tf.sigmoid(peer_logits / self.label_temperature))

    def watch(self, clicks: Clicks, logits: Sequence[tf.Tensor]) -> None:
        first, second = (tf.sigmoid(part) for part in logits)
        difference = tf.abs(first - second)
        self._monitors["agreement"].update_state(tf.cast(difference < AGREEMENT, tf.float32), clicks.real)
        self._monitors["disagreement"].update_state(difference, clicks.unexposed)
        self._monitors["prediction/unexposed"].update_state((first + second) / 2, clicks.unexposed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "consistency_weight": self.consistency.weight,
            "consistency_schedule": self.consistency.schedule,
            "consistency_steps": self.consistency.steps,
            "consistency_support": self.consistency_support,
            "average": self.average,
            "unexposed_weight": self.pseudo_labels.weight,
            "warmup_steps": self.pseudo_labels.steps,
            "label_temperature": self.label_temperature,
            "by_confidence": self.by_confidence,
            "stage_weight": self.stage_weight,
        }
