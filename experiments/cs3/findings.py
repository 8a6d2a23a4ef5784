"""The numbers of a page: means, differences and tests of a grid's results."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from experiments.cs3.cells import EQUAL, RATES, TUNED
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
from experiments.grid import DEFAULT
from experiments.learning_rates import best_rate
from experiments.statistics import Paired, adjusted, paired, rela_imp

AUC, TRUTH, TAU = "auc", "auc_truth", "kendall_tau"
COLD = {"cold_users": "users", "cold_items": "items"}
"""Masks of `measured`, and what they are of."""
TRAIN = "train"
"""Used as a mode: scores of the second half of the train split, each before the step that learned from it."""
LEAK_GAP = 0.05
"""More AUC than this, beyond what the base loses, no method loses from one time to the next: it was leaked."""


class Question(NamedTuple):
    """The claim that one method is above another on the test rows.

    Args:
      backbone: of both.
      better, worse: methods; the first has more.
      mode: in which the rows are scored.
      metric: a key of `measured`.
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
    """Figures of a method on the order in which caches are read and written, one for each seed.

    Args:
      method: its name.
      train, oracle: AUC by labels while it trained, and that of the truth on the same rows; the latter is empty where
        the truth is not known.
      online, prequential: AUC of the test rows, by the method's order, and with labels that come after.
      base_loss: what the base, which has no caches, loses from `train` to `prequential`.
    """

    method: str
    train: Sequence[float]
    oracle: Sequence[float]
    online: Sequence[float]
    prequential: Sequence[float]
    base_loss: float = 0.0

    @property
    def flag(self) -> str:
        """Why its figures cannot be true; empty if nothing speaks against them."""
        reasons = []
        if self.oracle and statistics.fmean(self.train) > statistics.fmean(self.oracle):
            reasons.append("above the true probabilities while it trains")
        gap = statistics.fmean(self.train) - statistics.fmean(self.prequential) - self.base_loss
        if gap > LEAK_GAP:
            reasons.append(f"{gap:.3f} of its AUC is gone once labels come after")
        return f"too good to be true: {' and '.join(reasons)}" if reasons else ""


class Findings:
    """A grid's results by world, backbone, method, seed and learning rate.

    `rates` is `TUNED`, each method at the rate that tuning chose for it, or `EQUAL`, all at the grid's `equal_rate`.

    Args:
      results: what `cs3.json` holds.
    """

    def __init__(self, results: Mapping[str, Any]):
        self.results = results
        self.grid = CS3Grid.model_validate(results["grid"])
        self._cells: dict[tuple[str, str, str, int, float], Mapping[str, Any]] = {}
        self.losses: dict[tuple[str, str], dict[float, list[float]]] = {}
        """Eval log loss, one for each tuning seed, by rate, of each backbone and method that was tuned."""
        for cell in results["cells"]:
            rate = cell["learning_rate"]
            if cell["tried"]:
                by_rate = self.losses.setdefault((cell["backbone"], cell["method"]), {})
                by_rate.setdefault(rate, []).append(cell["monitored"])
            else:
                self._cells[cell["variant"], cell["backbone"], cell["method"], cell["seed"], rate] = cell
        cells = self._cells.values()
        self.knows_truth = bool(cells) and all(TRUTH in cell["test"][FROZEN] for cell in cells)

    @property
    def metric(self) -> str:
        """The metric of all comparisons: the expected AUC where the truth is known: it has no noise of drawn labels."""
        return TRUTH if self.knows_truth else AUC

    def rate(self, backbone: str, method: str, rates: str = TUNED) -> float | None:
        """Returns the learning rate of a method; None where the grid has no equal one."""
        if rates == EQUAL:
            return self.grid.equal_rate
        losses = self.losses.get((backbone, tuned_as(method)))
        return self.grid.learning_rates[0] if losses is None else best_rate(losses)

    def cell(
        self, backbone: str, method: str, seed: int, variant: str = DEFAULT, rates: str = TUNED
    ) -> Mapping[str, Any] | None:
        """Returns a cell's result."""
        rate = self.rate(backbone, method, rates)
        return None if rate is None else self._cells.get((variant, backbone, method, seed, rate))

    def cells(
        self, backbone: str, method: str, variant: str = DEFAULT, rates: str = TUNED
    ) -> dict[int, Mapping[str, Any]]:
        """Returns a method's results by seed."""
        seeds = sorted({seed for _, _, _, seed, _ in self._cells})
        by_seed = {seed: self.cell(backbone, method, seed, variant, rates) for seed in seeds}
        return {seed: cell for seed, cell in by_seed.items() if cell is not None}

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
        """Returns one figure for each seed that has it.

        Args:
          backbone, method, variant, rates: of the cells.
          metric: a key of `measured`.
          mode: one of `MODES`, `TRAIN`, or a deviation of noise such as "0.1".
          seeds: these alone; None: all.
          split: whose rows, `test` or `eval`.
        """
        cells = self.cells(backbone, method, variant, rates)
        by_seed = [_measured(cell, mode, split) for seed, cell in cells.items() if seeds is None or seed in seeds]
        return [metrics[metric] for metrics in by_seed if metric in metrics]

    def methods(self, part: str, backbone: str, variant: str = DEFAULT, rates: str = TUNED) -> list[str]:
        """Returns the methods of a part that have results."""
        return [name for name in self.grid.methods(part) if self.cells(backbone, name, variant, rates)]

    def backbones(self, part: str = "main") -> list[str]:
        """Returns the backbones of a part that have results."""
        return [name for name in self.grid.backbones_of(part) if self.methods(part, name)]

    def pairs(self, rates: str = TUNED) -> list[tuple[str, str]]:
        """Returns backbones and methods of the main part that have results."""
        return [(name, method) for name in self.backbones() for method in self.methods("main", name, rates=rates)]

    def sides(self, question: Question) -> tuple[list[float], list[float]]:
        """Returns the figures of better and worse, of the seeds that have both methods."""
        backbone, better, worse, mode, metric, variant, rates = question
        both = (self.cells(backbone, method, variant, rates) for method in (better, worse))
        seeds = list(set.intersection(*map(set, both)))
        one, other = (self.values(backbone, method, metric, mode, variant, seeds, rates) for method in (better, worse))
        return one, other

    def compare(self, question: Question) -> Comparison | None:
        """Returns a comparison, paired by seed, p adjusted over all tests of the page; None where no seed has both."""
        one = self._compared(question)
        return None if one is None else one._replace(test=self._adjusted.get(one.key, one.test))

    def answers(self, questions: Iterable[Question]) -> list[Comparison]:
        """Returns the comparisons that have results."""
        return [one for one in map(self.compare, questions) if one is not None]

    def _compared(self, question: Question) -> Comparison | None:
        one, other = self.sides(question)
        if not one or len(one) != len(other):
            return None
        better, worse = (self.rate(question.backbone, name, question.rates) for name in question[1:3])
        return Comparison(question, (better, worse), paired(one, other))

    @cached_property
    def _adjusted(self) -> dict[Any, Paired]:
        """All tests of the page, adjusted together; one that is there twice counts once, a single seed not at all."""
        recalls = [question for question in self.recall_questions() if question.better != question.worse]
        questions = [*self.gain_questions(), *self.drift_questions(), *self.more_questions(), *recalls]
        compared = [self._compared(question) for question in questions]
        tests = {one.key: one.test for one in compared if one is not None and one.test.p is not None}
        return dict(zip(tests, adjusted(list(tests.values())), strict=True))

    @property
    def tests(self) -> int:
        """Number of tests on the page."""
        return len(self._adjusted)

    def gain_questions(self) -> list[Question]:
        """Returns each method of the main part against the base of its backbone, in each mode."""
        return [
            Question(backbone, method, BASE, mode, self.metric, DEFAULT, rates)
            for rates in RATES
            for backbone, method in self.pairs(rates)
            for mode in MODES
            if method != BASE
        ]

    def drift_questions(self) -> list[Question]:
        """Returns each method of the part `drift` against the base; none without results of a second world."""
        backbone = self.grid.studied
        variants = [name for name in self.grid.variants("drift").values() if self.methods("drift", backbone, name)]
        return [
            Question(backbone, method, BASE, mode, self.metric, variant)
            for variant in (variants if len(variants) > 1 else ())
            for method in self.methods("drift", backbone, variant)
            for mode in MODES
            if method != BASE
        ]

    def more_questions(self) -> list[Question]:
        """Returns CS3 against its base on cold ids, and by how both agree with the ranker."""
        metrics = [*(f"{self.metric}_{name}" for name in COLD), TAU]
        return [Question(backbone, FULL, BASE, FROZEN, metric) for backbone in self.backbones() for metric in metrics]

    def recall_questions(self) -> list[Question]:
        """Returns the comparisons by recall, of a base with itself, too: the rows of their table."""
        studied = self.grid.studied
        rates = RATES[: len({self.rate(studied, BASE, name) for name in RATES})]
        questions = [
            Question(backbone, method, BASE, FROZEN, RECALL, rates=name)
            for name in rates
            for backbone, method in self.pairs(name)
        ]
        decays = [method for method in self.decays().values() if method != FULL and len(self.decays()) > 1]
        questions += [Question(studied, method, BASE, FROZEN, RECALL) for method in decays]
        shuffled = self.methods("shuffled", studied)
        return questions + [Question(studied, name, BASE + SHUFFLED, FROZEN, RECALL) for name in shuffled]

    def gains(self, rates: str = TUNED, mode: str | None = None) -> list[Comparison]:
        """Returns the answers to `gain_questions`, in one mode or, method by method, in all."""
        questions = [one for one in self.gain_questions() if one.rates == rates and mode in (None, one.mode)]
        return self.answers(questions)

    def rela_imp(self, one: Comparison) -> float | None:
        """Returns the RelaImp of the mean AUCs of a comparison; None where the worse is no better than chance."""
        return rela_imp(*map(statistics.fmean, self.sides(one.question)))

    def orders(self) -> list[Order]:
        """Returns the methods by which the order is tried; none without results of the control."""
        backbone, methods = self.grid.studied, self.methods("order", self.grid.studied)
        if LEAKY not in methods:
            return []
        train, prequential = (self.values(backbone, BASE, AUC, mode) for mode in (TRAIN, PREQUENTIAL))
        base_loss = statistics.fmean(train) - statistics.fmean(prequential) if train else 0.0
        columns = ((AUC, TRAIN), ("oracle_auc", TRAIN), (AUC, ONLINE), (AUC, PREQUENTIAL))
        orders = []
        for method in methods:
            figures = [self.values(backbone, method, metric, mode) for metric, mode in columns]
            orders.append(Order(method, figures[0], figures[1], figures[2], figures[3], base_loss))
        return orders

    def decays(self) -> dict[float, str]:
        """Returns the methods of the part `sensitivity` that have results, by alpha and beta."""
        present = self.methods("sensitivity", self.grid.studied)
        return {decay: decay_method(decay) for decay in sorted(self.grid.decays) if decay_method(decay) in present}

    def course(self, backbone: str, method: str, key: str) -> list[float | None]:
        """Returns a line of the course, the mean over seeds slice by slice; empty without results."""
        cells = self.cells(backbone, method).values()
        slices = zip(*(cell["course"][key] for cell in cells if key in cell["course"]), strict=True)
        known = [[value for value in values if value is not None] for values in slices]
        return [statistics.fmean(values) if values else None for values in known]


def _measured(cell: Mapping[str, Any], mode: str, split: str) -> Mapping[str, float]:
    """Returns the metrics of one way of scoring."""
    if mode == TRAIN:
        return dict(cell["train"])
    return dict(cell[split][mode] if mode in MODES else cell[split].get("noise", {}).get(mode, {}))
