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
from models.training.distribution import has_servers
from models.training.job import TrainingJob
from transforms.features import Shape

RANKER = "target_attention_ranker"


@dataclass(frozen=True)
class CS3Recipe(Recipe):
    """Trains two towers and the ranker that teaches them by `CS3`, and keeps the towers.

    With a teacher no ranker is trained: what an earlier run made of each row comes with the batches.

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).

    Args:
      cts, cms, alpha, beta, user_feature, item_feature, leaky, softmax_weight, temperature: as in `CS3`. CAS is an
        option of the towers, `cycle_adaptive`.
      teacher: folder of an exported ranker, of its run or of its versions, whose last hidden layer the caches take;
        None: of the ranker that is trained beside the towers.
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
    teacher: str | None = None
    caches_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected in [0, 1]; 0.8 is the paper's")
        for name, meant in (("teacher", "the path of an exported ranker"), ("caches_from", "the folder of a run")):
            path = getattr(self, name)
            if path is not None and not (isinstance(path, str) and path):
                raise ValueError(f"{name} is {path!r}; expected {meant}; name one, or leave it out")
        if self.teacher and not self.cms:
            raise ValueError(
                f"teacher is {self.teacher!r} and cms False; expected cms True, as nothing else reads what a teacher "
                "tells; leave one of them out"
            )

    def earlier_caches(self) -> str | None:
        return self.caches_from

    def caches(self, streamed: CS3) -> TowerCaches:
        return streamed.caches

    def row_widths(self, width: int) -> list[int]:
        return [width] * (1 if self.teacher else 2)

    def model_names(self) -> list[str]:
        return [] if self.teacher else [RANKER]

    def taught_by(self) -> str | None:
        return self.teacher

    def check(self, models: Sequence[Any]) -> None:
        towers, *ranker = models
        if not isinstance(towers, TowerModel):
            raise ValueError(
                f"the model is {type(towers).__name__}; expected two towers; choose dssm, int_tower, dat or "
                "transformer_two_tower"
            )
        if any(item.shape is Shape.CANDIDATES for item in towers.embeddings.inputs):
            raise ValueError("records are requests; expected rows, as a stream has them; set record to row")
        # How wide a teacher's layer is makes no difference here.
        self._group(towers, ranker[0] if ranker else None, {}, 1 if self.teacher else 0)

    def streamed(self, job: TrainingJob) -> CS3:
        if tf.distribute.has_strategy() and not has_servers(tf.distribute.get_strategy()):
            raise ValueError(
                "a strategy of tf.distribute is given that copies the caches; expected none, or parameter servers, "
                "which keep them once; set training.distribution to none or parameter_server"
            )
        towers = job.build(job.seed, None)
        ranker = None if self.teacher else job.build(job.seed + 1, RANKER)
        group = self._group(towers, ranker, job.written_ids, job.teacher_width)
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
            **({"ranker": type(group.ranker).__name__} if group.ranker is not None else {}),
            "written_ids": {name: int(count) for name, count in _written(group).items()},
        }
        return Trained(self.served(group), result, report)

    def _group(
        self,
        towers: TowerModel,
        ranker: TargetAttentionRanker | None,
        written_ids: Mapping[str, int],
        teacher_width: int,
    ) -> CS3:
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
            teacher_width=teacher_width,
        )


def _written(group: CS3) -> dict[str, int]:
    """How many ids each store holds a vector of."""
    return {name: int((store.counts.numpy() > 0).sum()) for name, store in group.caches.stores.items()}
