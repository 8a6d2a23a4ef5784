"""Figures that a page tells, computed from a grid's results and from nothing else."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.cs3.grid import CS3Grid
from experiments.cs3.methods import BASE, decay_method
from experiments.cs3.modes import FROZEN, MODES, ONLINE, PREQUENTIAL
from experiments.statistics import Paired, Verdict, holm, paired, rela_imp
from experiments.world_grid import DEFAULT

AUC, TRUTH = "auc", "auc_truth"
TRAIN = "train"
"""Stands for a mode: what was scored in the second half of the train split, before each step."""
LEAK_GAP = 0.05
"""So much more AUC than the base a method does not lose from one time to the next; what goes beyond it was leaked."""


@dataclass(frozen=True)
class Comparison:
    """One method against another, seed by seed.

    Args:
      variant: of the world.
      backbone: of both.
      mode: in which the test rows were scored.
      better, worse: methods; what is claimed is that the first has more.
      test: of the differences.
      adjusted_p: by Holm, over the tests that stand together.
    """

    variant: str
    backbone: str
    mode: str
    better: str
    worse: str
    test: Paired
    adjusted_p: float | None = None

    @property
    def verdict(self) -> Verdict:
        """On the claim."""
        return self.test.verdict


@dataclass(frozen=True)
class Order:
    """What a method shows of the order in which caches are read and written.

    Args:
      method: its name.
      train, oracle: AUC by labels while it trained, and that of the truth on the same rows; one a seed, the
        latter empty where nobody knows the truth.
      online, prequential: AUC of the test rows, by the method's own order, and with labels that come after.
      base_loss: what the base, which has no caches, loses from `train` to `prequential`.
    """

    method: str
    train: Sequence[float]
    oracle: Sequence[float]
    online: Sequence[float]
    prequential: Sequence[float]
    base_loss: float = 0.0

    @property
    def gap(self) -> float:
        """How much of its AUC is gone once labels come after, beyond what time alone takes."""
        return statistics.fmean(self.train) - statistics.fmean(self.prequential) - self.base_loss

    @property
    def flag(self) -> str:
        """Why its figures cannot be true; empty if nothing speaks against them."""
        reasons = []
        if self.oracle and statistics.fmean(self.train) > statistics.fmean(self.oracle):
            reasons.append("above the true probabilities while it trains")
        if self.gap > LEAK_GAP:
            reasons.append(f"{self.gap:.3f} of its AUC is gone once labels come after")
        return f"too good to be true: {' and '.join(reasons)}" if reasons else ""


class Findings:
    """A grid's results, asked for by world, backbone, method and seed.

    Args:
      results: what `cs3.json` holds.
    """

    def __init__(self, results: Mapping[str, Any]):
        self.results = results
        self.grid = CS3Grid.model_validate(results["grid"])
        self.tuning = [cell for cell in results["cells"] if cell["tried"]]
        self._cells: dict[tuple[str, str, str, int], Mapping[str, Any]] = {
            (cell["variant"], cell["backbone"], cell["method"], cell["seed"]): cell
            for cell in results["cells"]
            if not cell["tried"]
        }
        cells = list(self._cells.values())
        self.knows_truth = bool(cells) and all(TRUTH in cell["test"][FROZEN] for cell in cells)

    @property
    def metric(self) -> str:
        """Of all comparisons: the expected AUC where the truth is known, as it does not hang on drawn labels."""
        return TRUTH if self.knows_truth else AUC

    def cell(self, backbone: str, method: str, seed: int, variant: str = DEFAULT) -> Mapping[str, Any] | None:
        """A cell's result."""
        return self._cells.get((variant, backbone, method, seed))

    def seeds(self, backbone: str, *methods: str, variant: str = DEFAULT) -> list[int]:
        """Seeds that have all these methods."""
        known = sorted({seed for _, _, _, seed in self._cells})
        return [seed for seed in known if all((variant, backbone, method, seed) in self._cells for method in methods)]

    def values(
        self,
        backbone: str,
        method: str,
        metric: str,
        mode: str = FROZEN,
        variant: str = DEFAULT,
        seeds: Sequence[int] | None = None,
    ) -> list[float]:
        """One figure a seed; of seeds that lack it none.

        Args:
          backbone, method: of the cells.
          metric: as `measured` names it.
          mode: one of `MODES`, `TRAIN`, or a deviation of noise such as "0.1".
          variant: of the world.
          seeds: these alone.
        """
        chosen = self.seeds(backbone, method, variant=variant) if seeds is None else seeds
        cells = [self._cells[variant, backbone, method, seed] for seed in chosen]
        told = [_measured(cell, mode) for cell in cells]
        return [figures[metric] for figures in told if metric in figures]

    def backbones(self, part: str = "main") -> list[str]:
        """Those of a part that have results."""
        return [name for name in self.grid.backbones_of(part) if self.methods(part, name)]

    def methods(self, part: str, backbone: str, variant: str = DEFAULT) -> list[str]:
        """Methods of a part that have results."""
        return [name for name in self.grid.methods(part) if self.seeds(backbone, name, variant=variant)]

    def compare(
        self, backbone: str, better: str, worse: str, mode: str = FROZEN, metric: str = "", variant: str = DEFAULT
    ) -> Comparison | None:
        """Paired by seed; None where no seed has both. The metric is `self.metric` if none is named."""
        seeds = self.seeds(backbone, better, worse, variant=variant)
        one, other = (
            self.values(backbone, method, metric or self.metric, mode, variant, seeds) for method in (better, worse)
        )
        if not one or len(one) != len(other):
            return None
        return Comparison(variant, backbone, mode, better, worse, paired(one, other))

    def gains(self, mode: str) -> list[Comparison]:
        """Each method of the main part against the base of its backbone, p values adjusted together."""
        found = [
            self.compare(backbone, method, BASE, mode)
            for backbone in self.backbones()
            for method in self.methods("main", backbone)
            if method != BASE
        ]
        return adjusted([one for one in found if one is not None])

    def rela_imp(self, one: Comparison) -> float | None:
        """RelaImp of the mean AUCs of a comparison; None where the worse is no better than chance."""
        seeds = self.seeds(one.backbone, one.better, one.worse, variant=one.variant)
        better, worse = (
            statistics.fmean(self.values(one.backbone, method, self.metric, one.mode, one.variant, seeds))
            for method in (one.better, one.worse)
        )
        return rela_imp(better, worse) if worse > 0.5 else None

    def orders(self) -> list[Order]:
        """Of the methods by which the order is tried."""
        backbone, found = self.grid.studied, []
        train, prequential = (self.values(backbone, BASE, AUC, mode) for mode in (TRAIN, PREQUENTIAL))
        base_loss = statistics.fmean(train) - statistics.fmean(prequential) if train else 0.0
        for method in self.methods("order", backbone):
            told = ((AUC, TRAIN), ("oracle_auc", TRAIN), (AUC, ONLINE), (AUC, PREQUENTIAL))
            own = [self.values(backbone, method, metric, mode) for metric, mode in told]
            found.append(Order(method, own[0], own[1], own[2], own[3], base_loss))
        return found

    def decays(self) -> dict[float, str]:
        """Methods of the part `sensitivity` that have results, by alpha and beta."""
        present = self.methods("sensitivity", self.grid.studied)
        return {decay: decay_method(decay) for decay in sorted(self.grid.decays) if decay_method(decay) in present}

    def drift_gains(self, mode: str) -> list[Comparison]:
        """Each method of the part `drift` against the base, in each of its worlds."""
        backbone = self.grid.studied
        found = [
            self.compare(backbone, method, BASE, mode, variant=variant)
            for variant in self.grid.variants("drift").values()
            for method in self.methods("drift", backbone, variant)
            if method != BASE
        ]
        return adjusted([one for one in found if one is not None])

    def world_name(self, variant: str) -> str:
        """What the part `drift` calls a world."""
        return next(name for name, own in self.grid.variants("drift").items() if own == variant)

    def course(self, backbone: str, method: str, key: str) -> list[float | None]:
        """A line of the course, mean over seeds slice by slice; empty without results."""
        found = [self.cell(backbone, method, seed) for seed in self.seeds(backbone, method)]
        lines = [cell["course"][key] for cell in found if cell is not None and key in cell["course"]]
        return [_mean(values) for values in zip(*lines, strict=True)]


def adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with p values adjusted together; without, where one has none."""
    tested = [one.test.p for one in found if one.test.p is not None]
    values: Sequence[float | None] = holm(tested) if len(tested) == len(found) else [None] * len(found)
    return [replace(one, adjusted_p=p) for one, p in zip(found, values, strict=True)]


def _measured(cell: Mapping[str, Any], mode: str) -> Mapping[str, float]:
    if mode == TRAIN:
        return dict(cell["train"])
    return dict(cell["test"][mode] if mode in MODES else cell["test"].get("noise", {}).get(mode, {}))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
