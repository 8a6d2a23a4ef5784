"""The whole recipe of DUET: train the pair together, keep the better peer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.cotraining.duet import Average, Duet, Support
from models.cotraining.peer_training import best_peer, build_peers, check_peers
from models.cotraining.recipe import Recipe, Trained
from models.cotraining.schedules import WeightSchedule
from models.training.job import TrainingJob


@dataclass(frozen=True)
class DuetRecipe(Recipe):
    """Trains two rankers by `Duet`, from two seeds, and keeps the one with the least eval log loss.

    Reference: "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369).

    Args:
      models: the peers' classes, by name; empty: the run's own model for both.
      shared_backbone: the two peers are two heads of the run's model, which then needs `outputs`: 2.
      consistency_weight, consistency_schedule, consistency_steps, consistency_support, average,
        unexposed_weight, warmup_steps, label_temperature, by_confidence, stage_weight: as in `Duet`.
    """

    models: Sequence[str] = ()
    shared_backbone: bool = False
    consistency_weight: float = 0.1
    consistency_schedule: WeightSchedule = "constant"
    consistency_steps: int = 0
    consistency_support: Support = "real"
    average: Average = "union"
    unexposed_weight: float = 1.0
    warmup_steps: int = 0
    label_temperature: float = 1.0
    by_confidence: bool = False
    stage_weight: float = 0.0

    def __post_init__(self) -> None:
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
        build_peers(group)
        result = job.fit(group, directory / "together", job.settings, job.seed)
        best = best_peer(result, 2)
        report = {
            "recipe": "duet",
            "peers": [{"seed": seed, "model": type(peer).__name__} for seed, peer in zip(seeds, group.peers)],
            "best_peer": best,
            "warnings": warnings_of(result.history),
        }
        return Trained(group.peer(best), result, report)

    def _group(self, peers: Sequence[Any]) -> Duet:
        return Duet(
            peers,
            consistency_weight=self.consistency_weight,
            consistency_schedule=self.consistency_schedule,
            consistency_steps=self.consistency_steps,
            consistency_support=self.consistency_support,
            average=self.average,
            unexposed_weight=self.unexposed_weight,
            warmup_steps=self.warmup_steps,
            label_temperature=self.label_temperature,
            by_confidence=self.by_confidence,
            stage_weight=self.stage_weight,
        )


COLLAPSE, DIVERGENCE, LEAST_DEGREE = 0.95, 0.1, 1e-3


def warnings_of(history: Sequence[dict[str, float]]) -> list[str]:
    """What went wrong between the peers, each with its cause and a remedy.

    Args:
      history: of `FitResult`; its last epoch counts.
    """
    row = dict(history[-1]) if history else {}
    found = []
    if row.get("eval_agreement", 0.0) > COLLAPSE:
        found.append(
            f"the peers agree within 0.01 on {row['eval_agreement']:.1%} of the candidates: their views have collapsed "
            "and teach nothing; lower consistency_weight, or give the peers different views (field_dropout, models)"
        )
    if row.get("eval_disagreement", 0.0) > DIVERGENCE:
        found.append(
            f"the peers' probabilities of unexposed candidates differ by {row['eval_disagreement']:.3f} on average: "
            "they diverge; raise consistency_weight, or give the pseudo-labels a warm-up (warmup_steps)"
        )
    low = {name: value for name, value in row.items() if name.startswith("degree_min") and value < LEAST_DEGREE}
    if low:
        name, value = min(low.items(), key=lambda item: item[1])
        found.append(
            f"{name} fell to {value:.1e}: attention rows are divided by almost nothing; choose feature_map elu1, or "
            "lower the learning rate"
        )
    return found
