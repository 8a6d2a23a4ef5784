"""The whole recipe of CS3: one pass in the order of time; the towers are kept, with what their caches hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf

from models.cotraining.cs3 import CS3
from models.cotraining.peer_training import build_peers
from models.cotraining.recipe import Recipe, Trained
from models.layers.tower_caches import TowerCaches
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.tower_model import TowerModel
from models.training.job import TrainingJob
from transforms.features import Shape

RANKER = "target_attention_ranker"


@dataclass(frozen=True)
class CS3Recipe(Recipe):
    """Trains two towers and the ranker that teaches them by `CS3`, and keeps the towers.

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).

    Args:
      cts, cms, alpha, beta, user_feature, item_feature, leaky, softmax_weight, temperature: as in `CS3`. CAS is an
        option of the towers, `cycle_adaptive`.
      caches_from: folder of an earlier run, of whose caches the new ones begin with the vectors of the ids that both
        know; None: with zeros.
    """

    in_time_order: ClassVar[bool] = True

    cts: bool = True
    cms: bool = True
    alpha: float = 0.8
    beta: float = 0.8
    user_feature: str = "user_id"
    item_feature: str = "item_id"
    leaky: bool = False
    softmax_weight: float = 0.0
    temperature: float = 1.0
    caches_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected in [0, 1]; 0.8 is the paper's")
        if self.caches_from is not None and not (isinstance(self.caches_from, str) and self.caches_from):
            raise ValueError(
                f"caches_from is {self.caches_from!r}; expected the folder of a run; name one, or leave it out"
            )

    def earlier_caches(self) -> str | None:
        return self.caches_from

    def caches(self, streamed: CS3) -> TowerCaches:
        return streamed.caches

    def row_widths(self, width: int) -> list[int]:
        return [width, width]

    def model_names(self) -> list[str]:
        return [RANKER]

    def check(self, models: Sequence[Any]) -> None:
        towers, ranker = models
        if not isinstance(towers, TowerModel):
            raise ValueError(
                f"the model is {type(towers).__name__}; expected two towers; choose dssm, int_tower, dat or "
                "transformer_two_tower"
            )
        if any(item.shape is Shape.CANDIDATES for item in towers.embeddings.inputs):
            raise ValueError("records are requests; expected rows, as a stream has them; set record to row")
        self._group(towers, ranker, {})

    def streamed(self, job: TrainingJob) -> CS3:
        if tf.distribute.has_strategy():
            raise ValueError("a strategy of tf.distribute is given; expected none; set training.distribution to none")
        group = self._group(job.build(job.seed, None), job.build(job.seed + 1, RANKER), job.written_ids)
        build_peers(group)
        if job.base_rate is not None:
            group.start_at(job.base_rate)
        group.carry(job.carried)
        return group

    def served(self, streamed: CS3) -> TowerModel:
        towers: Any = streamed.peer(0)
        return towers

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        group = self.streamed(job)
        result = job.fit(group, directory / "together", job.settings, job.seed)
        report = {
            "recipe": "cs3",
            "towers": type(group.towers).__name__,
            "ranker": type(group.ranker).__name__,
            "written_ids": {name: int(count) for name, count in _written(group).items()},
        }
        return Trained(self.served(group), result, report)

    def _group(self, towers: TowerModel, ranker: TargetAttentionRanker, written_ids: Mapping[str, int]) -> CS3:
        return CS3(
            towers,
            ranker,
            cts=self.cts,
            cms=self.cms,
            alpha=self.alpha,
            beta=self.beta,
            user_feature=self.user_feature,
            item_feature=self.item_feature,
            leaky=self.leaky,
            softmax_weight=self.softmax_weight,
            temperature=self.temperature,
            written_ids=written_ids,
        )


def _written(group: CS3) -> dict[str, int]:
    """How many ids each store holds a vector of."""
    return {name: int((store.counts.numpy() > 0).sum()) for name, store in group.caches.stores.items()}
