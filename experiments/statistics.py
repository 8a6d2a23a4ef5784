"""Paired comparisons of a few repeats: intervals, tests, and corrections for several tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
"""A p value below it is significant."""
Verdict = Literal["significantly better", "significantly worse", "not significantly better"]


def rela_imp(auc: float, base: float) -> float | None:
    """Returns the relative improvement of the AUC above chance, (auc - 1/2) / (base - 1/2) - 1.

    None for a base that is no better than chance.

    Reference: papers on click models give it as a percentage; one of them is "Mutual Learning for Finetuning
    Click-Through Rate Prediction Models" (2024, arXiv 2406.12087).
    """
    return (auc - 0.5) / (base - 0.5) - 1 if base > 0.5 else None


@dataclass(frozen=True)
class Paired:
    """Differences of pairs, one a repeat.

    Args:
      differences: of the pairs.
      mean: of them.
      std: their standard deviation, over n - 1.
      low, high: 95 % interval of the mean, by Student's t; None with less than two.
      p: of the two-sided paired t-test; None with less than two.
      wilcoxon_p: of the two-sided signed-rank test, exact; with five pairs it cannot be below 0.0625.
      adjusted_p: p after correction for the tests that it stands among; None of a test that stands alone.
    """

    differences: tuple[float, ...]
    mean: float
    std: float
    low: float | None
    high: float | None
    p: float | None
    wilcoxon_p: float | None
    adjusted_p: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Significant if the interval leaves out zero and the adjusted p value, if there is one, is below 0.05."""
        is_open = self.low is None or self.high is None or self.low <= 0 <= self.high
        if is_open or (self.adjusted_p is not None and self.adjusted_p >= SIGNIFICANCE):
            return "not significantly better"
        return "significantly better" if self.mean > 0 else "significantly worse"


def paired(one: Sequence[float], other: Sequence[float]) -> Paired:
    """Returns the comparison of pairs, `one - other`.

    Raises:
      ValueError: no pair, or sequences of two lengths.
    """
    if len(one) != len(other) or not one:
        raise ValueError(f"received {len(one)} and {len(other)} values; expected as many of each, at least one")
    differences = np.subtract(one, other, dtype=np.float64)
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Paired(tuple(differences.tolist()), mean, 0.0, None, None, None, None)
    std = float(differences.std(ddof=1))
    error = std / math.sqrt(n)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    if error > 0:
        p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    else:
        p = 0.0 if mean else 1.0
    return Paired(tuple(differences.tolist()), mean, std, mean - half, mean + half, p, _wilcoxon(differences))


def level(values: Sequence[float]) -> Paired:
    """Returns the mean of values with its interval."""
    return paired(values, [0.0] * len(values))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p values of several tests, so adjusted that one in twenty families has a false positive at 0.05.

    Reference: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def adjusted(tests: Sequence[Paired]) -> list[Paired]:
    """Returns tests that stand together with p values adjusted by Holm; a single pair has none, and does not count."""
    p_values = iter(holm([test.p for test in tests if test.p is not None]))
    return [test if test.p is None else replace(test, adjusted_p=next(p_values)) for test in tests]


C = TypeVar("C", bound=Any)
"""A named tuple with a field `test`."""


def family(comparisons: Sequence[C | None]) -> list[C]:
    """Returns the comparisons that there are, their p values adjusted together."""
    present = [one for one in comparisons if one is not None]
    tests = adjusted([one.test for one in present])
    return [one._replace(test=test) for one, test in zip(present, tests, strict=True)]


def _wilcoxon(differences: np.ndarray) -> float | None:
    if not differences.any():
        return 1.0
    # Exact for up to 50 pairs without ties; with ties SciPy falls back to the normal distribution.
    return float(
        stats.wilcoxon(
            differences, method="exact" if len(set(abs(differences))) == len(differences) else "approx"
        ).pvalue
    )
