"""The numbers of a page: means, differences and tests of a grid's results."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from experiments.cs3.grid import CS3Grid
from experiments.cs3.methods import (
    BASE,
    FROZEN,
    FULL,
    LEAKY,
    MODES,
    ONLINE,
    PREQUENTIAL,
    RECALL,
    SHUFFLED,
    decay_method,
    tuned_as,
)
from experiments.cs3.rates import EQUAL, RATES, TUNED, best_rate
from experiments.statistics import Paired, adjusted, paired, rela_imp
from experiments.world_grid import DEFAULT

AUC, TRUTH, TAU = "auc", "auc_truth", "kendall_tau"
COLD = {"cold_users": "users", "cold_items": "items"}
"""Masks of `measured`, and of what they are."""
TRAIN = "train"
"""Stands for a mode: what was scored in the second half of the train split, before each step."""
LEAK_GAP = 0.05
"""So much more AUC than the base a method does not lose from one time to the next; what goes beyond it was leaked."""


class Question(NamedTuple):
    """Whether one method is above another, on the test rows.

    Args:
      backbone: of both.
      better, worse: methods; what is claimed is that the first has more.
      mode: in which the rows are scored.
      metric: as `measured` names it.
      variant: of the world.
      rates: of `RATES`.
    """

    backbone: str
    better: str
    worse: str
    mode: str
    metric: str
    variant: str = DEFAULT
    rates: str = TUNED


class Comparison(NamedTuple):
    """One method against another, seed by seed.

    Args:
      question: what is compared.
      learning_rates: of the better and of the worse.
      test: of the differences; its p value is adjusted over all tests of the page.
    """

    question: Question
    learning_rates: tuple[float | None, float | None]
    test: Paired

    @property
    def key(self) -> tuple[Question, tuple[float | None, float | None]]:
        """The same for a comparison at tuned and at equal rates, if these are the same rates."""
        return self.question._replace(rates=""), self.learning_rates


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
    """A grid's results by world, backbone, method, seed and learning rate.

    `rates` is `TUNED`, each method at its own, or `EQUAL`, all at the grid's `equal_rate`.

    Args:
      results: what `cs3.json` holds.
    """

    def __init__(self, results: Mapping[str, Any]):
        self.results = results
        self.grid = CS3Grid.model_validate(results["grid"])
        self.tuning = [cell for cell in results["cells"] if cell["tried"]]
        self._cells: dict[tuple[str, str, str, int, float], Mapping[str, Any]] = {
            (cell["variant"], cell["backbone"], cell["method"], cell["seed"], cell["learning_rate"]): cell
            for cell in results["cells"]
            if not cell["tried"]
        }
        cells = list(self._cells.values())
        self.knows_truth = bool(cells) and all(TRUTH in cell["test"][FROZEN] for cell in cells)

    @property
    def metric(self) -> str:
        """Of all comparisons: the expected AUC where the truth is known, as it does not hang on drawn labels."""
        return TRUTH if self.knows_truth else AUC

    @cached_property
    def losses(self) -> dict[tuple[str, str], dict[float, dict[int, float]]]:
        """Eval log loss by tuning seed, by rate, of each backbone and method that was tuned."""
        found: dict[tuple[str, str], dict[float, dict[int, float]]] = {}
        for cell in self.tuning:
            by_rate = found.setdefault((cell["backbone"], cell["method"]), {})
            by_rate.setdefault(cell["learning_rate"], {})[cell["seed"]] = cell["monitored"]
        return found

    def rate(self, backbone: str, method: str, rates: str = TUNED) -> float | None:
        """The learning rate of a method; None where the grid has no equal one."""
        if rates == EQUAL:
            return self.grid.equal_rate
        losses = self.losses.get((backbone, tuned_as(method)))
        if losses is None:
            return self.grid.learning_rates[0]
        return best_rate({rate: list(by_seed.values()) for rate, by_seed in losses.items()})

    def cell(
        self, backbone: str, method: str, seed: int, variant: str = DEFAULT, rates: str = TUNED
    ) -> Mapping[str, Any] | None:
        """A cell's result."""
        rate = self.rate(backbone, method, rates)
        return None if rate is None else self._cells.get((variant, backbone, method, seed, rate))

    def seeds(self, backbone: str, *methods: str, variant: str = DEFAULT, rates: str = TUNED) -> list[int]:
        """Seeds that have all these methods."""
        known = sorted({seed for _, _, _, seed, _ in self._cells})
        return [seed for seed in known if all(self.cell(backbone, method, seed, variant, rates) for method in methods)]

    def values(
        self,
        backbone: str,
        method: str,
        metric: str,
        mode: str = FROZEN,
        variant: str = DEFAULT,
        seeds: Sequence[int] | None = None,
        rates: str = TUNED,
        split: str = "test",
    ) -> list[float]:
        """One figure a seed; of seeds that lack it none.

        Args:
          backbone, method: of the cells.
          metric: as `measured` names it.
          mode: one of `MODES`, `TRAIN`, or a deviation of noise such as "0.1".
          variant: of the world.
          seeds: these alone.
          rates: of `RATES`.
          split: whose rows, `test` or `eval`.
        """
        chosen = self.seeds(backbone, method, variant=variant, rates=rates) if seeds is None else seeds
        cells = [self.cell(backbone, method, seed, variant, rates) for seed in chosen]
        by_seed = [_measured(cell, mode, split) for cell in cells if cell is not None]
        return [metrics[metric] for metrics in by_seed if metric in metrics]

    def backbones(self, part: str = "main") -> list[str]:
        """Those of a part that have results."""
        return [name for name in self.grid.backbones_of(part) if self.methods(part, name)]

    def methods(self, part: str, backbone: str, variant: str = DEFAULT, rates: str = TUNED) -> list[str]:
        """Methods of a part that have results."""
        return [name for name in self.grid.methods(part) if self.seeds(backbone, name, variant=variant, rates=rates)]

    def compare(
        self,
        backbone: str,
        better: str,
        worse: str,
        mode: str = FROZEN,
        metric: str = "",
        variant: str = DEFAULT,
        rates: str = TUNED,
    ) -> Comparison | None:
        """Paired by seed, p adjusted over all tests of the page; None where no seed has both.

        The metric is `self.metric` if none is named.
        """
        one = self._compared(Question(backbone, better, worse, mode, metric or self.metric, variant, rates))
        return None if one is None else one._replace(test=self._adjusted.get(one.key, one.test))

    def _compared(self, asked: Question) -> Comparison | None:
        backbone, better, worse, mode, metric, variant, rates = asked
        seeds = self.seeds(backbone, better, worse, variant=variant, rates=rates)
        one, other = (self.values(backbone, method, metric, mode, variant, seeds, rates) for method in (better, worse))
        if not one or len(one) != len(other):
            return None
        learning_rates = self.rate(backbone, better, rates), self.rate(backbone, worse, rates)
        return Comparison(asked, learning_rates, paired(one, other))

    @cached_property
    def _adjusted(self) -> dict[Any, Paired]:
        """All tests of the page, adjusted together; one that is there twice counts once, a single seed not at all."""
        asked = [*self._gain_questions(), *self._drift_questions(), *self._more_questions()]
        compared = [self._compared(question) for question in asked]
        tests = {one.key: one.test for one in compared if one is not None and one.test.p is not None}
        return dict(zip(tests, adjusted(list(tests.values())), strict=True))

    @property
    def tests(self) -> int:
        """Number of tests on the page."""
        return len(self._adjusted)

    def _gain_questions(self) -> list[Question]:
        return [
            Question(backbone, method, BASE, mode, self.metric, DEFAULT, rates)
            for rates in RATES
            for backbone in self.backbones()
            for method in self.methods("main", backbone, rates=rates)
            for mode in MODES
            if method != BASE
        ]

    def _drift_questions(self) -> list[Question]:
        """None without results of a second world."""
        backbone = self.grid.studied
        variants = [own for own in self.grid.variants("drift").values() if self.methods("drift", backbone, own)]
        return [
            Question(backbone, method, BASE, mode, self.metric, variant)
            for variant in (variants if len(variants) > 1 else ())
            for method in self.methods("drift", backbone, variant)
            for mode in MODES
            if method != BASE
        ]

    def _more_questions(self) -> list[Question]:
        """Of CS3 on cold ids, and of how it agrees with the ranker."""
        metrics = [*(f"{self.metric}_{name}" for name in COLD), TAU]
        found = [Question(own, FULL, BASE, FROZEN, metric) for own in self.backbones() for metric in metrics]
        return [*found, *(question for _, question in self.recall_rows() if question.better != question.worse)]

    def recall_rows(self) -> list[tuple[str, Question]]:
        """The comparisons by recall: the group of rows, and the method against its base."""
        studied = self.grid.studied
        rates = dict.fromkeys(self.rate(studied, BASE, own) for own in RATES)
        found = [
            ("main", Question(backbone, method, BASE, FROZEN, RECALL, rates=own))
            for own in RATES[: len(rates)]
            for backbone in self.backbones()
            for method in self.methods("main", backbone, rates=own)
        ]
        if len(self.decays()) > 1:
            found += [
                ("decay", Question(studied, method, BASE, FROZEN, RECALL))
                for method in self.decays().values()
                if method != FULL
            ]
        return found + [
            ("shuffled", Question(studied, method, BASE + SHUFFLED, FROZEN, RECALL))
            for method in self.methods("shuffled", studied)
        ]

    def gains(self, rates: str = TUNED, mode: str | None = None) -> list[Comparison]:
        """Each method of the main part against the base of its backbone, in one mode or, method by method, in all."""
        asked = self._gain_questions()
        return self._answers([own for own in asked if own.rates == rates and mode in (None, own.mode)])

    def drift_gains(self, mode: str) -> list[Comparison]:
        """Each method of the part `drift` against the base, in each of its worlds."""
        return self._answers([own for own in self._drift_questions() if own.mode == mode])

    def _answers(self, asked: Sequence[Question]) -> list[Comparison]:
        found = [self.compare(*question) for question in asked]
        return [one for one in found if one is not None]

    def rela_imp(self, one: Comparison) -> float | None:
        """RelaImp of the mean AUCs of a comparison; None where the worse is no better than chance."""
        backbone, better, worse, mode, metric, variant, rates = one.question
        seeds = self.seeds(backbone, better, worse, variant=variant, rates=rates)
        of_better, of_worse = (
            statistics.fmean(self.values(backbone, method, metric, mode, variant, seeds, rates))
            for method in (better, worse)
        )
        return rela_imp(of_better, of_worse) if of_worse > 0.5 else None

    def orders(self) -> list[Order]:
        """Of the methods by which the order is tried; none without results of the control."""
        backbone, found = self.grid.studied, list[Order]()
        if LEAKY not in self.methods("order", backbone):
            return found
        train, prequential = (self.values(backbone, BASE, AUC, mode) for mode in (TRAIN, PREQUENTIAL))
        base_loss = statistics.fmean(train) - statistics.fmean(prequential) if train else 0.0
        for method in self.methods("order", backbone):
            columns = ((AUC, TRAIN), ("oracle_auc", TRAIN), (AUC, ONLINE), (AUC, PREQUENTIAL))
            own = [self.values(backbone, method, metric, mode) for metric, mode in columns]
            found.append(Order(method, own[0], own[1], own[2], own[3], base_loss))
        return found

    def decays(self) -> dict[float, str]:
        """Methods of the part `sensitivity` that have results, by alpha and beta."""
        present = self.methods("sensitivity", self.grid.studied)
        return {decay: decay_method(decay) for decay in sorted(self.grid.decays) if decay_method(decay) in present}

    def world_name(self, variant: str) -> str:
        """What the part `drift` calls a world."""
        return next(name for name, own in self.grid.variants("drift").items() if own == variant)

    def course(self, backbone: str, method: str, key: str) -> list[float | None]:
        """A line of the course, mean over seeds slice by slice; empty without results."""
        found = [self.cell(backbone, method, seed) for seed in self.seeds(backbone, method)]
        lines = [cell["course"][key] for cell in found if cell is not None and key in cell["course"]]
        return [_mean(values) for values in zip(*lines, strict=True)]


def _measured(cell: Mapping[str, Any], mode: str, split: str) -> Mapping[str, float]:
    if mode == TRAIN:
        return dict(cell["train"])
    return dict(cell[split][mode] if mode in MODES else cell[split].get("noise", {}).get(mode, {}))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
