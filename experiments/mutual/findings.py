"""The numbers of a page: means, differences and tests of a grid's results."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.mutual.cells import INDEPENDENT, INDEPENDENT_OTHER, MIXED, SIZES
from experiments.mutual.grid import MutualGrid
from experiments.statistics import Paired, family, paired, rela_imp

MUTUAL, SCRATCH, FINETUNE_ONLY, ENSEMBLE = "mutual", "scratch", "finetune_only", "ensemble"
_ALONE = (INDEPENDENT, INDEPENDENT_OTHER)
HEADLINES = ((MUTUAL, INDEPENDENT), (INDEPENDENT, SCRATCH), (MUTUAL, FINETUNE_ONLY))
"""The paper's two steps, and the control that it lacks: the claim is that the first of each pair is better."""


class Comparison(NamedTuple):
    """One arm against another, group by group; the claim is that `better` has the greater AUC."""

    model: str
    better: str
    worse: str
    test: Paired


class Mixed(NamedTuple):
    """AUC of the first peer of a model, one for each group: pretrained, among its own kind, among other models."""

    alone: list[float]
    same: list[float]
    different: list[float]


class Size(NamedTuple):
    """Groups of one size.

    Args:
      means: mean AUC over the peers of each group after finetuning.
      gains: of each group's mean over the same peers alone.
      of_first_two: mean over the two peers that groups of all sizes share.
    """

    means: list[float]
    gains: list[float]
    of_first_two: list[float]


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
        """Returns the groups that have all these arms; of independent runs all K."""
        by_arm = []
        for arm in arms:
            counts = Counter(key[1] for key in self._cells if key[0] == model and key[2] == arm)
            enough = self.grid.peers if arm in _ALONE else 1
            by_arm.append({group for group, count in counts.items() if count >= enough})
        return sorted(set.intersection(*by_arm)) if by_arm else []

    def peers(self, model: str, group: int, arm: str, metric: str = "auc") -> list[float]:
        """Returns figures on the test split of each peer of a group; of independent runs those of all, K or more."""
        if arm in _ALONE:
            count = sum(key[:3] == (model, group, arm) for key in self._cells)
            cells = [self._cells[model, group, arm, number] for number in range(count)]
            return [cell["test"]["peers"][0][metric] for cell in cells]
        return [peer[metric] for peer in self._cells[model, group, arm, 0]["test"]["peers"]]

    def of_group(self, model: str, group: int, arm: str, metric: str = "auc") -> float:
        """Returns the mean over the K peers; of an ensemble the figure of their mean prediction."""
        if arm == ENSEMBLE:
            return float(self._cells[model, group, arm, 0]["test"]["mean_of_peers"][metric])
        peers = self.peers(model, group, arm, metric)
        return statistics.fmean(peers[: self.grid.peers] if arm in _ALONE else peers)

    def by_group(self, model: str, arm: str, groups: Sequence[int], metric: str = "auc") -> list[float]:
        """Returns one figure for each group."""
        return [self.of_group(model, group, arm, metric) for group in groups]

    def table_1_models(self) -> list[str]:
        """Returns the models with independent runs and both arms of the paper."""
        return [model for model in self.grid.table_1.models if self.groups(model, INDEPENDENT, SCRATCH, MUTUAL)]

    def compare(self, model: str, better: str, worse: str, metric: str = "auc") -> Comparison | None:
        """Returns the comparison of group means, paired; None if no group has both arms."""
        groups = self.groups(model, better, worse)
        if not groups:
            return None
        sides = (self.by_group(model, arm, groups, metric) for arm in (better, worse))
        return Comparison(model, better, worse, paired(*sides))

    def headlines(self, metric: str = "auc") -> list[Comparison]:
        """Returns `HEADLINES` of each model, their p values adjusted together."""
        return family([self.compare(model, *pair, metric) for model in self.table_1_models() for pair in HEADLINES])

    def gain(self, model: str, arm: str) -> float | None:
        """Returns the RelaImp of an arm's mean AUC over that of the independent runs of the same groups."""
        groups = self.groups(model, INDEPENDENT, arm)
        means = (statistics.fmean(self.by_group(model, one, groups)) for one in (arm, INDEPENDENT))
        return rela_imp(*means) if groups else None

    def share_of_oracle(self, model: str, arm: str) -> float | None:
        """Returns the mean AUC above one half over the oracle's; None where the truth is not known."""
        oracle = self.results["data"]["splits"]["test"]["oracle"].get("auc")
        if oracle is None:
            return None
        mean = statistics.fmean(self.by_group(model, arm, self.groups(model, arm)))
        return (mean - 0.5) / (oracle - 0.5)

    def spreads(self, model: str, arm: str, groups: Sequence[int]) -> list[float]:
        """Returns the standard deviation of the peers' AUC within each group, over K - 1."""
        by_group = [self.peers(model, group, arm) for group in groups]
        return [statistics.stdev(peers[: self.grid.peers] if arm == INDEPENDENT else peers) for peers in by_group]

    def table_2(self, model: str) -> Mixed | None:
        """Returns one peer alone, among its own kind, and among others; None without such groups."""
        groups = [group for group in self.groups(model, INDEPENDENT, MUTUAL) if (MIXED, group, MIXED, 0) in self._cells]
        members = [peer["model"] for peer in self._cells[MIXED, groups[0], MIXED, 0]["peers"]] if groups else []
        if model not in members:
            return None
        return Mixed(
            alone=[self.peers(model, group, INDEPENDENT)[0] for group in groups],
            same=[self.peers(model, group, MUTUAL)[0] for group in groups],
            different=[self.peers(MIXED, group, MIXED)[members.index(model)] for group in groups],
        )

    def sizes(self, model: str) -> dict[int, Size]:
        """Returns groups by the number of peers, those that have all sizes; nothing if there is none."""
        arms = {**{size: name for name, size in SIZES.items()}, self.grid.peers: MUTUAL}
        groups = self.groups(model, INDEPENDENT, *arms.values())
        sizes = {}
        for size, arm in sorted(arms.items() if groups else ()):
            together = [self.peers(model, group, arm) for group in groups]
            alone = [self.peers(model, group, INDEPENDENT)[:size] for group in groups]
            means = [statistics.fmean(group) for group in together]
            gains = [mean - statistics.fmean(peers) for mean, peers in zip(means, alone, strict=True)]
            sizes[size] = Size(means, gains, [statistics.fmean(group[:2]) for group in together])
        return sizes
