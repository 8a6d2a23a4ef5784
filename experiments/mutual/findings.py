"""The numbers of a page: means, differences and tests of a grid's results."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.mutual.cells import INDEPENDENT, INDEPENDENT_OTHER, MIXED, SIZES
from experiments.mutual.grid import MutualGrid
from experiments.statistics import Paired, adjusted, paired, rela_imp

MUTUAL, SCRATCH, FINETUNE_ONLY, ENSEMBLE = "mutual", "scratch", "finetune_only", "ensemble"
_ALONE = (INDEPENDENT, INDEPENDENT_OTHER)
HEADLINES = ((MUTUAL, INDEPENDENT), (INDEPENDENT, SCRATCH), (MUTUAL, FINETUNE_ONLY))
"""The paper's two steps, and the control that it lacks: the claim is that the first of each pair is better."""


class Comparison(NamedTuple):
    """One arm against another, group by group.

    Args:
      model: of both.
      better, worse: names of arms; the claim is that the first has the greater AUC.
      test: of the differences.
    """

    model: str
    better: str
    worse: str
    test: Paired


class Findings:
    """A grid's results by model, arm and group.

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
        """Groups that have all these arms; of independent runs all K."""
        by_arm = []
        for arm in arms:
            counts = Counter(key[1] for key in self._cells if key[0] == model and key[2] == arm)
            enough = self.grid.peers if arm in _ALONE else 1
            by_arm.append({group for group, count in counts.items() if count >= enough})
        return sorted(set.intersection(*by_arm)) if by_arm else []

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
        """Models with independent runs and both arms of the paper."""
        return [model for model in self.grid.table_1.models if self.groups(model, INDEPENDENT, SCRATCH, MUTUAL)]

    def compare(self, model: str, better: str, worse: str, metric: str = "auc") -> Comparison | None:
        """Group means, paired; None if no group has both."""
        groups = self.groups(model, better, worse)
        if not groups:
            return None
        sides = (self.by_group(model, arm, groups, metric) for arm in (better, worse))
        return Comparison(model, better, worse, paired(*sides))

    def headlines(self, metric: str = "auc") -> list[Comparison]:
        """`HEADLINES` of each model, their p values adjusted together."""
        compared = [self.compare(model, *pair, metric) for model in self.table_1_models() for pair in HEADLINES]
        present = [comparison for comparison in compared if comparison is not None]
        tests = adjusted([comparison.test for comparison in present])
        return [one._replace(test=test) for one, test in zip(present, tests, strict=True)]

    def gain(self, model: str, arm: str) -> float:
        """RelaImp of an arm's mean AUC over that of the independent runs of the same groups."""
        groups = self.groups(model, INDEPENDENT, arm)
        means = (statistics.fmean(self.by_group(model, one, groups)) for one in (arm, INDEPENDENT))
        return rela_imp(*means)

    def share_of_oracle(self, model: str, arm: str) -> float | None:
        """Mean AUC above one half over the oracle's; None where nobody knows the truth."""
        oracle = self.results["data"]["splits"]["test"]["oracle"].get("auc")
        if oracle is None:
            return None
        mean = statistics.fmean(self.by_group(model, arm, self.groups(model, arm)))
        return (mean - 0.5) / (oracle - 0.5)

    def spread(self, model: str, group: int, arm: str) -> float:
        """Standard deviation of the peers' AUC within a group, over K - 1."""
        peers = self.peers(model, group, arm)
        return statistics.stdev(peers[: self.grid.peers] if arm == INDEPENDENT else peers)

    def spreads(self, model: str, arm: str, groups: Sequence[int]) -> list[float]:
        """`spread`, one a group."""
        return [self.spread(model, group, arm) for group in groups]

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
        sizes = {}
        for size, arm in sorted(arms.items() if groups else ()):
            together = [self.peers(model, group, arm) for group in groups]
            alone = [self.peers(model, group, INDEPENDENT)[:size] for group in groups]
            sizes[size] = Size(size, together, alone)
        return sizes


class Mixed(NamedTuple):
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


class Size(NamedTuple):
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
