"""DUET: two rankers that label each other's unexposed candidates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Recipe, Trained
from models.cotraining.clicks import Clicks, conditional_loss, side_outputs_of, stage_loss, symmetric_kl
from models.cotraining.peers import PeerModel, best_peer, check_peers
from models.layers.arguments import checked_choice
from models.options import Options
from models.table_model import TableModel
from models.training.job import TrainingJob

WeightSchedule = Literal["constant", "ramp", "cosine", "step"]
SCHEDULES = ("constant", "ramp", "cosine", "step")


@dataclass(frozen=True)
class ScheduledWeight:
    """A weight that changes while a model is trained: weight f(x), x = min(step / steps, 1).

    Args:
      weight: greatest value of the weight, 0 or more.
      schedule: the function f: `constant`, 1; `ramp`, x; `cosine`, (1 + cos(pi x)) / 2, from 1 down to 0; `step`, 0
        while x < 1, then 1.
      steps: optimizer steps until f has its last value; 0: from the start.

    Raises:
      ValueError: a negative number, or no such schedule.
    """

    weight: float
    schedule: WeightSchedule = "constant"
    steps: int = 0

    def __post_init__(self) -> None:
        checked_choice("schedule", self.schedule, SCHEDULES)
        if self.weight < 0 or self.steps < 0:
            raise ValueError(f"weight is {self.weight}, steps {self.steps}; expected 0 or more; correct them")

    def at(self, step: Any) -> tf.Tensor:
        """Returns the weight at a step, a scalar."""
        if self.schedule == "constant" or not self.steps:
            return tf.constant(0.0 if self.schedule == "cosine" else self.weight, tf.float32)
        x = tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)
        if self.schedule == "cosine":
            return self.weight * (1 + tf.cos(math.pi * x)) / 2
        return self.weight * (x if self.schedule == "ramp" else tf.floor(x))


AGREEMENT = 0.01
"""Least difference of two probabilities that counts as disagreement; the metric `agreement` counts smaller ones."""


@dataclass(frozen=True)
class DuetOptions(Options):
    """The options of `Duet`, and of its recipe.

    Args:
      consistency_weight: weight of the consistency loss (9).
      consistency_schedule: how the weight of the consistency loss changes; see `ScheduledWeight`.
      consistency_steps: optimizer steps in which the weight of the consistency loss changes; 0: it changes at once.
      consistency_support: candidates over which the consistency loss is averaged: all `real` or only `unexposed` ones.
      average: `union`, the mean over E and N together as in (11); or `group_mean`, the mean over E plus
        `unexposed_weight` times the mean over N.
      unexposed_weight: weight of the loss on pseudo-labels, that is of the unexposed candidates.
      warmup_steps: optimizer steps in which `unexposed_weight` is reached, linearly from 0; 0: from the start.
      label_temperature: temperature of the pseudo-labels sigmoid(logit / temperature); below 1 they are sharper.
      by_confidence: True weighs a pseudo-label p by |2 p - 1|, which is near 0 where the peer is uncertain.
      stage_weight: weight of `stage_loss`, by which each peer also learns how far the logging system took each
        candidate. Above 0 a model needs an output for the click and one for each stage beyond the first.
    """

    consistency_weight: float = 0.1
    consistency_schedule: WeightSchedule = "constant"
    consistency_steps: int = 0
    consistency_support: Literal["real", "unexposed"] = "real"
    average: Literal["union", "group_mean"] = "union"
    unexposed_weight: float = 1.0
    warmup_steps: int = 0
    label_temperature: float = 1.0
    by_confidence: bool = False
    stage_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_temperature <= 0:
            raise ValueError(f"label_temperature is {self.label_temperature}; expected above 0; 1 keeps the labels")

    def consistency(self) -> ScheduledWeight:
        """Returns the schedule of the consistency loss' weight."""
        return ScheduledWeight(self.consistency_weight, self.consistency_schedule, self.consistency_steps)

    def pseudo_labels(self) -> ScheduledWeight:
        """Returns the schedule of the weight of the loss on pseudo-labels."""
        return ScheduledWeight(self.unexposed_weight, "ramp" if self.warmup_steps else "constant", self.warmup_steps)


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
      **options: see `DuetOptions`.

    Call arguments, output shape: as `PeerModel`; metrics beside those of `PeerModel`: `agreement`, the
    share of candidates on which the peers' probabilities differ by less than 0.01, `disagreement`, their mean
    absolute difference on unexposed candidates, and `prediction/unexposed`, their mean there.

    Raises:
      ValueError: not two outputs, or an option outside its domain.
    """

    options: DuetOptions

    def __init__(self, peers: Sequence[TableModel], **options: Any):
        super().__init__(peers, **options)
        self.consistency, self.pseudo_labels = self.options.consistency(), self.options.pseudo_labels()
        names = ("agreement", "disagreement", "prediction/unexposed")
        self._monitors = {name: keras.metrics.Mean(name=name) for name in names}

    def count_side_outputs(self, peers: Sequence[TableModel]) -> tuple[int, ...]:
        counts = side_outputs_of(peers) if self.options.stage_weight else super().count_side_outputs(peers)
        outputs = sum(peer.outputs for peer in peers) - sum(counts)
        if outputs != 2:
            raise ValueError(
                f"peers have {outputs} outputs together; expected 2; give two models, or one with outputs=2"
            )
        return counts

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("bce", "consistency", "stage") if self.options.stage_weight else ("bce", "consistency")

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        step = self.optimizer.iterations if self.optimizer is not None else 0
        how = (self.pseudo_labels.at(step), self.options.average, self.options.by_confidence)
        learned = self.learned_by(clicks)
        losses = [conditional_loss(learned[k], logits[k], self._labels(logits[1 - k]), *how) for k in (0, 1)]
        distance = symmetric_kl(logits[0], logits[1])
        over = clicks.mean_over_real if self.options.consistency_support == "real" else clicks.mean_over_unexposed
        terms = {"bce": tf.add_n(losses), "consistency": self.consistency.at(step) * over(distance)}
        if self.options.stage_weight:
            stages = [stage_loss(clicks, logits) for logits in sides]
            terms["stage"] = self.options.stage_weight * tf.add_n(stages)
        return terms

    def learned_by(self, clicks: Clicks) -> tuple[Clicks, Clicks]:
        """Returns the clicks that each peer learns: all of them, unless a subclass gives each peer some."""
        return clicks, clicks

    def _labels(self, peer_logits: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(tf.sigmoid(peer_logits / self.options.label_temperature))

    def watch(self, clicks: Clicks, logits: Sequence[tf.Tensor]) -> None:
        first, second = (tf.sigmoid(part) for part in logits)
        difference = tf.abs(first - second)
        self._monitors["agreement"].update_state(tf.cast(difference < AGREEMENT, tf.float32), clicks.real)
        self._monitors["disagreement"].update_state(difference, clicks.unexposed)
        self._monitors["prediction/unexposed"].update_state((first + second) / 2, clicks.unexposed)


@dataclass(frozen=True)
class DuetRecipe(Recipe, DuetOptions):
    """Trains two rankers by `Duet`, from two seeds, and keeps the one with the least eval log loss.

    Reference: "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369).

    Args:
      models: names of the two peers' classes; empty: both are of the run's model.
      shared_backbone: True makes the two peers two heads of the run's model, which then needs `outputs`: 2.
    """

    adds_linear_terms = True

    models: Sequence[str] = ()
    shared_backbone: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.models and len(self.models) != 2:
            raise ValueError(f"models has {len(self.models)} names; expected 2, one a peer; or leave it out")
        if self.models and self.shared_backbone:
            raise ValueError("models and shared_backbone are both given; two heads are of one model; leave one out")

    def needs(self) -> frozenset[str]:
        return frozenset({"requests", "unexposed", *(["stages"] if self.stage_weight else [])})

    def row_widths(self, width: int) -> list[int]:
        return [width] * (1 if self.shared_backbone else 2)

    def model_names(self) -> list[str]:
        return list(self.models)

    def check(self, models: Sequence[Any]) -> None:
        check_peers(models)
        chosen = list(models[1:]) or list(models)
        self._group(chosen if len(chosen) > 1 or self.shared_backbone else chosen * 2)

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        names: list[str | None] = [*self.models] or [None] * (1 if self.shared_backbone else 2)
        seeds = [job.seed + index for index in range(len(names))]
        group = self._group([job.build(seed, name) for seed, name in zip(seeds, names, strict=True)])
        group.build_variables()
        result = job.fit(group, directory / "together", job.settings, job.seed)
        best = best_peer(result, 2)
        report = {
            "recipe": "duet",
            "peers": [{"seed": seed, "model": type(peer).__name__} for seed, peer in zip(seeds, group.peers)],
            "best_peer": best,
            "warnings": peer_warnings(result.history),
        }
        return Trained(group.peer(best), result, report, peers=lambda: (group.peer(0), group.peer(1)))

    def _group(self, peers: Sequence[Any]) -> Duet:
        return Duet(peers, **self.values(DuetOptions))


COLLAPSE, DIVERGENCE, LEAST_DEGREE = 0.95, 0.1, 1e-3


def peer_warnings(history: Sequence[dict[str, float]]) -> list[str]:
    """Returns warnings about the peers, each with its cause and a remedy.

    Args:
      history: `history` of a `FitResult`; its last epoch counts.
    """
    row = dict(history[-1]) if history else {}
    warnings = []
    if row.get("eval_agreement", 0.0) > COLLAPSE:
        warnings.append(
            f"the peers agree within 0.01 on {row['eval_agreement']:.1%} of the candidates: their views have collapsed "
            "and teach nothing; lower consistency_weight, or give the peers different views (field_dropout, models)"
        )
    if row.get("eval_disagreement", 0.0) > DIVERGENCE:
        warnings.append(
            f"the peers' probabilities of unexposed candidates differ by {row['eval_disagreement']:.3f} on average: "
            "they diverge; raise consistency_weight, or give the pseudo-labels a warm-up (warmup_steps)"
        )
    low = {name: value for name, value in row.items() if name.startswith("degree_min") and value < LEAST_DEGREE}
    if low:
        name, value = min(low.items(), key=lambda item: item[1])
        warnings.append(
            f"{name} fell to {value:.1e}: attention rows are divided by almost nothing; choose feature_map elu1, or "
            "lower the learning rate"
        )
    return warnings
