"""The numbers of a page: means, differences and tests of a grid's results."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.duet.grid import DuetGrid
from experiments.duet.methods import DUET, DUET_STAGES, RATES, ROWS, SERVED, SINGLE, method_of, source_of
from experiments.grid import DEFAULT
from experiments.statistics import Paired, adjusted, family, paired, rela_imp

LOGGING, ORACLE = "logging policy", "oracle"
TWO_SINGLES, TWO_SINGLES_MEAN = "two_singles", "two_singles_ensemble"
STEPS = ((DUET, SINGLE), (SINGLE, "two_tower"), (DUET, "duet_no_kl"), ("duet_no_kl", SINGLE))
"""The claims on the shape of the paper's table: the first of each pair is better."""
UNEXPOSED, EXPOSED, ENTIRE = "auc_unexposed", "auc", "auc_entire"
METRICS = {UNEXPOSED: "unexposed", EXPOSED: "exposed", ENTIRE: "entire space"}
_REFERENCES = {
    LOGGING: {UNEXPOSED: "logging_auc_unexposed", EXPOSED: "logging_policy_auc", ENTIRE: "logging_auc_entire"},
    ORACLE: {UNEXPOSED: "oracle_auc_unexposed", EXPOSED: "oracle_auc", ENTIRE: "oracle_auc_entire"},
}


class Comparison(NamedTuple):
    """One row against another, seed by seed.

    Args:
      variant: of the world.
      metric: of the test requests.
      better, worse: rows; the claim is that the first has more.
      test: of the differences.
    """

    variant: str
    metric: str
    better: str
    worse: str
    test: Paired


class Findings:
    """A grid's results by world, row and seed.

    Args:
      results: what `duet.json` holds.
    """

    def __init__(self, results: Mapping[str, Any]):
        self.results = results
        self.grid = DuetGrid.model_validate(results["grid"])
        self.tuning = [cell for cell in results["cells"] if cell["tried"]]
        self._cells: dict[tuple[str, str, int], Mapping[str, Any]] = {
            (cell["variant"], cell["method"], cell["seed"]): cell for cell in results["cells"] if not cell["tried"]
        }

    def cell(self, variant: str, row: str, seed: int) -> Mapping[str, Any] | None:
        """Returns the cell that a row is measured from."""
        return self._cells.get((variant, source_of(row)[0], seed))

    def value(self, variant: str, row: str, seed: int, metric: str, split: str = "test") -> float | None:
        """Returns a figure; None if there is none. `metric` may be of a pair: `agreement`, `error_correlation` ..."""
        if row in RATES:
            # They have no seed.
            rates = self.results.get("rates", {}).get("rows", {}) if (variant, split) == (DEFAULT, "test") else {}
            return rates.get(row, {}).get(metric)
        if row in _REFERENCES:
            # They are the same in every cell of a world and a seed.
            cell = next(
                (one for (world, _, number), one in self._cells.items() if (world, number) == (variant, seed)), None
            )
            return None if cell is None else cell[split][SERVED].get(_REFERENCES[row].get(metric, ""))
        cell = self.cell(variant, row, seed)
        if cell is None:
            return None
        measured = cell[split].get(source_of(row)[1], {})
        value: float | None = measured.get(metric, cell[split].get("pair", {}).get(metric))
        return value

    def seeds(self, variant: str, metric: str, *rows: str) -> list[int]:
        """Returns the seeds that have this figure of all these rows."""
        known = sorted({seed for world, _, seed in self._cells if world == variant})
        return [seed for seed in known if all(self.value(variant, row, seed, metric) is not None for row in rows)]

    def values(self, variant: str, row: str, metric: str, seeds: Sequence[int] | None = None) -> list[float]:
        """Returns one figure for each seed."""
        chosen = self.seeds(variant, metric, row) if seeds is None else seeds
        values = [self.value(variant, row, seed, metric) for seed in chosen]
        return [value for value in values if value is not None]

    def metrics(self) -> list[str]:
        """Returns those of `METRICS` that are known; without the truth only the exposed one."""
        return [metric for metric in METRICS if any(self.seeds(world, metric, row) for world, row, _ in self._cells)]

    @property
    def main_metric(self) -> str:
        """The metric of unexposed candidates where the truth about them is known."""
        return UNEXPOSED if UNEXPOSED in self.metrics() else EXPOSED

    def rows(self, part: str, variant: str = DEFAULT) -> list[str]:
        """Returns the rows of a part that have results in a world; the better of two singles beside their mean."""
        named: list[str] = []
        for row in self.grid.methods(part):
            named += [TWO_SINGLES, row] if row == TWO_SINGLES_MEAN else [row]
        return [row for row in named if self.seeds(variant, EXPOSED, row)]

    def rates(self) -> list[str]:
        """Returns the click rates of users and items that were measured on the same requests."""
        return [row for row in RATES if self.seeds(DEFAULT, EXPOSED, row)]

    def compare(self, better: str, worse: str, metric: str = UNEXPOSED, variant: str = DEFAULT) -> Comparison | None:
        """Returns a comparison, paired by seed; None where no seed has both rows."""
        seeds = self.seeds(variant, metric, better, worse)
        if not seeds:
            return None
        sides = (self.values(variant, row, metric, seeds) for row in (better, worse))
        return Comparison(variant, metric, better, worse, paired(*sides))

    def family(self, pairs: Sequence[tuple[str, str, str, str]]) -> list[Comparison]:
        """Returns comparisons `(better, worse, metric, variant)` that have results, p values adjusted together."""
        return family([self.compare(*pair) for pair in pairs])

    def baselines(self, part: str = "main", variant: str = DEFAULT) -> list[str]:
        """Returns the rows that train and serve one model: neither a pair nor a mean of two."""
        return [row for row in self.rows(part, variant) if self.serves_one(row) and method_of(row).pair is None]

    @staticmethod
    def serves_one(row: str) -> bool:
        """Returns True if one model is served: the row is no mean of two."""
        return row not in ROWS

    def best_baseline(self, metric: str = UNEXPOSED, variant: str = DEFAULT, part: str = "main") -> str | None:
        """Returns the single-model baseline with the greatest mean on the test requests: the hardest to beat."""
        means = {row: self.values(variant, row, metric) for row in self.baselines(part, variant)}
        known = {row: statistics.fmean(values) for row, values in means.items() if values}
        return max(known, key=lambda row: known[row]) if known else None

    def paper_tests(self) -> list[Comparison]:
        """Compares DUET as the paper states it with every other row, metric by metric."""
        others = [row for row in self.rows("main") if row not in (DUET, "duet_ensemble", DUET_STAGES)]
        others = [row for row in others if row != "duet_stages_ensemble"]
        return self.family([(DUET, row, metric, DEFAULT) for metric in self.metrics() for row in (*others, LOGGING)])

    def rates_tests(self) -> list[Comparison]:
        """Compares every row with the click rates of items and users, on the main metric."""
        return self.family([(row, "item_user_rate", self.main_metric, DEFAULT) for row in self.rows("main")])

    def steps(self) -> list[Comparison]:
        """Compares the pairs of `STEPS`, metric by metric."""
        return self.family([(*pair, metric, DEFAULT) for pair in STEPS for metric in self.metrics()])

    def strongest_tests(self) -> list[Comparison]:
        """Compares DUET with stages with the best baseline of each metric, its control, DUET and the logging policy."""
        pairs: list[tuple[str, str, str, str]] = []
        for metric in self.metrics():
            named = [self.best_baseline(metric), "stage_heads_10", SINGLE, DUET, TWO_SINGLES, TWO_SINGLES_MEAN]
            rows = dict.fromkeys(row for row in (*named, LOGGING) if row is not None)
            pairs += [(DUET_STAGES, row, metric, DEFAULT) for row in rows]
        return self.family(pairs)

    def study_tests(self, part: str, pairs: Sequence[tuple[str, str]], metric: str = UNEXPOSED) -> list[Comparison]:
        """Compares pairs of rows in each world of a study."""
        worlds = self.grid.variants(part).values()
        return self.family([(better, worse, metric, world) for better, worse in pairs for world in worlds])

    def gain(self, row: str, base: str, metric: str, variant: str = DEFAULT) -> float | None:
        """Returns the RelaImp of a row's mean AUC over another's; None without results or over one of chance."""
        seeds = self.seeds(variant, metric, row, base)
        means = (statistics.fmean(self.values(variant, one, metric, seeds)) for one in (row, base))
        return rela_imp(*means) if seeds else None

    def curve(self, metric: str = UNEXPOSED) -> dict[float, list[float]]:
        """Returns the values of each consistency weight that has results, over the seeds that all of them have."""
        rows = dict(zip(self.grid.lambdas, self.grid.methods("lambda"), strict=True))
        present = {weight: row for weight, row in sorted(rows.items()) if self.seeds(DEFAULT, metric, row)}
        seeds = self.seeds(DEFAULT, metric, *present.values()) if present else []
        return {weight: self.values(DEFAULT, row, metric, seeds) for weight, row in present.items() if seeds}

    def curve_tests(self) -> list[tuple[str, float, float, Paired]]:
        """Compares the best weight between the ends of the curve with both ends: `(metric, weight, end, test)`."""
        rows = []
        for metric in self.metrics():
            curve = self.curve(metric)
            if len(curve) >= 3:
                first, *between, last = curve
                best = max(between, key=lambda weight: statistics.fmean(curve[weight]))
                rows += [(metric, best, end, paired(curve[best], curve[end])) for end in (first, last)]
        tests = adjusted([test for *_, test in rows])
        return [(metric, best, end, test) for (metric, best, end, _), test in zip(rows, tests, strict=True)]
