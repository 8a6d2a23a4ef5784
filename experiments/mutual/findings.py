"""Figures that a page tells, computed from a grid's results and from nothing else."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.mutual.cells import INDEPENDENT, INDEPENDENT_OTHER, MIXED, SIZES
from experiments.mutual.grid import MutualGrid
from experiments.statistics import Paired, Verdict, adjusted_p_values, both, corrected, paired, rela_imp

MUTUAL, SCRATCH, FINETUNE_ONLY, ENSEMBLE = "mutual", "scratch", "finetune_only", "ensemble"
_ALONE = (INDEPENDENT, INDEPENDENT_OTHER)
HEADLINES = ((MUTUAL, INDEPENDENT), (INDEPENDENT, SCRATCH), (MUTUAL, FINETUNE_ONLY))
"""The paper's two steps, and the control that it lacks: the first of each pair is said to be the better."""


@dataclass(frozen=True)
class Comparison:
    """One way against another, group by group.

    Args:
      model: that both are of.
      better, worse: names of arms; what is claimed is that the first has the greater AUC.
      test: of the differences.
      adjusted_p: by Holm, over all headline comparisons; None where it is none of them.
    """

    model: str
    better: str
    worse: str
    test: Paired
    adjusted_p: float | None = None

    @property
    def verdict(self) -> Verdict:
        """On the claim, after Holm's correction where the comparison stands among others."""
        return corrected(self.test, self.adjusted_p)


class Findings:
    """A grid's results, asked for by model, way and group.

    Args:
      results: what `mutual.json` holds.
    """

    def __init__(self, results: Mapping[str, Any]):
        self.results = results
        self.grid = MutualGrid.model_validate(results["grid"])
        self._cells: dict[tuple[str, int, str, int], Mapping[str, Any]] = {}
        for cell in results["cells"]:
            number = cell["peers"][0]["number"] if cell["arm"] in _ALONE else 0
            self._cells[cell["model"], cell["group"], cell["arm"], number] = cell

    def groups(self, model: str, *arms: str) -> list[int]:
        """Groups that have all these ways, independent runs of K peers among them."""
        found = []
        for arm in arms:
            counts = Counter(key[1] for key in self._cells if key[0] == model and key[2] == arm)
            enough = self.grid.peers if arm in _ALONE else 1
            found.append({group for group, count in counts.items() if count >= enough})
        return sorted(set.intersection(*found)) if found else []

    def peers(self, model: str, group: int, arm: str, metric: str = "auc") -> list[float]:
        """Figures on the test split of each peer of a group; of independent runs those of all, K or more."""
        if arm in _ALONE:
            count = sum(key[:3] == (model, group, arm) for key in self._cells)
            cells = [self._cells[model, group, arm, number] for number in range(count)]
            return [cell["test"]["peers"][0][metric] for cell in cells]
        return [peer[metric] for peer in self._cells[model, group, arm, 0]["test"]["peers"]]

    def of_group(self, model: str, group: int, arm: str, metric: str = "auc") -> float:
        """Mean over the K peers; of an ensemble the figure of their mean prediction."""
        if arm == ENSEMBLE:
            return float(self._cells[model, group, arm, 0]["test"]["mean_of_peers"][metric])
        peers = self.peers(model, group, arm, metric)
        return statistics.fmean(peers[: self.grid.peers] if arm in _ALONE else peers)

    def by_group(self, model: str, arm: str, groups: Sequence[int], metric: str = "auc") -> list[float]:
        """One figure a group."""
        return [self.of_group(model, group, arm, metric) for group in groups]

    def table_1_models(self) -> list[str]:
        """Models of which there are independent runs and both ways of the paper."""
        return [model for model in self.grid.table_1.models if self.groups(model, INDEPENDENT, SCRATCH, MUTUAL)]

    def compare(self, model: str, better: str, worse: str, metric: str = "auc") -> Comparison | None:
        """Group means, paired; None where no group has both."""
        groups = self.groups(model, better, worse)
        if not groups:
            return None
        sides = (self.by_group(model, arm, groups, metric) for arm in (better, worse))
        return Comparison(model, better, worse, paired(*sides))

    def headlines(self, metric: str = "auc") -> list[Comparison]:
        """The comparisons that the page is about, of each model, their p values adjusted together."""
        found = [self.compare(model, *pair, metric) for model in self.table_1_models() for pair in HEADLINES]
        present = [comparison for comparison in found if comparison is not None]
        adjusted = adjusted_p_values([comparison.test for comparison in present])
        return [
            Comparison(one.model, one.better, one.worse, one.test, p) for one, p in zip(present, adjusted, strict=True)
        ]

    def headline(self, model: str, pair: tuple[str, str], metric: str = "auc") -> Comparison | None:
        """One of them."""
        found = (one for one in self.headlines(metric) if (one.model, one.better, one.worse) == (model, *pair))
        return next(found, None)

    def ordering(self, model: str, metric: str = "auc") -> Verdict:
        """Of the paper's ordering: pretrained mutual > independent > mutual from scratch."""
        steps = [self.headline(model, pair, metric) for pair in HEADLINES[:2]]
        return both([step.verdict for step in steps if step is not None])

    def gain(self, model: str, arm: str) -> float:
        """RelaImp of a way's mean AUC over that of the independent runs of the same groups."""
        groups = self.groups(model, INDEPENDENT, arm)
        means = (statistics.fmean(self.by_group(model, one, groups)) for one in (arm, INDEPENDENT))
        return rela_imp(*means)

    def share_of_oracle(self, model: str, arm: str) -> float | None:
        """Mean AUC above one half over the oracle's; None where nobody knows the truth."""
        oracle = self.results["data"]["splits"]["test"]["oracle"].get("auc")
        if oracle is None:
            return None
        found = statistics.fmean(self.by_group(model, arm, self.groups(model, arm)))
        return (found - 0.5) / (oracle - 0.5)

    def spread(self, model: str, group: int, arm: str) -> float:
        """Standard deviation of the peers' AUC within a group, over K - 1."""
        peers = self.peers(model, group, arm)
        return statistics.stdev(peers[: self.grid.peers] if arm == INDEPENDENT else peers)

    def narrower(self, model: str) -> Comparison | None:
        """Whether mutual peers lie nearer to each other than independent runs do."""
        groups = self.groups(model, INDEPENDENT, MUTUAL)
        if not groups:
            return None
        sides = ([self.spread(model, group, arm) for group in groups] for arm in (INDEPENDENT, MUTUAL))
        return Comparison(model, INDEPENDENT, MUTUAL, paired(*sides))

    def table_2(self, model: str) -> "Mixed | None":
        """One peer alone, among its own kind, and among others."""
        groups = [group for group in self.groups(model, INDEPENDENT, MUTUAL) if (MIXED, group, MIXED, 0) in self._cells]
        if not groups:
            return None
        members = [peer["model"] for peer in self._cells[MIXED, groups[0], MIXED, 0]["peers"]]
        if model not in members:
            return None
        place = members.index(model)
        return Mixed(
            model,
            alone=[self.peers(model, group, INDEPENDENT)[0] for group in groups],
            same=[self.peers(model, group, MUTUAL)[0] for group in groups],
            different=[self.peers(MIXED, group, MIXED)[place] for group in groups],
        )

    def sizes(self, model: str) -> dict[int, "Size"]:
        """By the number of peers, over the groups that have all sizes; nothing if there is none."""
        arms = {**{size: name for name, size in SIZES.items()}, self.grid.peers: MUTUAL}
        groups = self.groups(model, INDEPENDENT, *arms.values())
        found = {}
        for size, arm in sorted(arms.items() if groups else ()):
            together = [self.peers(model, group, arm) for group in groups]
            alone = [self.peers(model, group, INDEPENDENT)[:size] for group in groups]
            found[size] = Size(size, together, alone)
        return found


@dataclass(frozen=True)
class Mixed:
    """The first peer of a model, one AUC a group.

    Args:
      model: its name.
      alone: pretrained.
      same: finetuned with peers of its own model.
      different: finetuned with one peer of each model.
    """

    model: str
    alone: list[float]
    same: list[float]
    different: list[float]


@dataclass(frozen=True)
class Size:
    """Groups of one size.

    Args:
      size: number of peers.
      together: AUC of the peers of each group after finetuning.
      alone: of the same peers before.
    """

    size: int
    together: list[list[float]]
    alone: list[list[float]]

    @property
    def means(self) -> list[float]:
        """Over the peers of each group."""
        return [statistics.fmean(group) for group in self.together]

    @property
    def gains(self) -> list[float]:
        """Of each group's mean over the same peers alone."""
        return [statistics.fmean(one) - statistics.fmean(other) for one, other in zip(self.together, self.alone)]

    @property
    def of_first_two(self) -> list[float]:
        """Mean over the two peers that groups of all sizes share."""
        return [statistics.fmean(group[:2]) for group in self.together]
