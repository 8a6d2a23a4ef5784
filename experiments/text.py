"""How figures are written on a page."""

import statistics
from collections.abc import Sequence

from experiments.statistics import Paired, corrected

UNIT = 1e5
"""Differences of AUC are told in hundred-thousandths."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, and an empty one."""
    first, *others = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return [first, "|" + "---|" * len(header), *others, ""]


def auc(value: float) -> str:
    """As papers print it."""
    return f"{value:.5f}"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of AUCs."""
    mean = auc(statistics.fmean(values))
    return f"{mean} ± {statistics.stdev(values):.5f}" if len(values) > 1 else mean


def interval(test: Paired) -> str:
    """A mean difference of AUC and its interval."""
    if test.low is None or test.high is None:
        return f"{UNIT * test.mean:+.1f}"
    return f"{UNIT * test.mean:+.1f} [{UNIT * test.low:+.1f}, {UNIT * test.high:+.1f}]"


def told(test: Paired, adjusted_p: float | None = None) -> str:
    """A verdict, and what it rests on.

    Args:
      test: what is told.
      adjusted_p: its p value after Holm's correction; None where the test stands alone.
    """
    p = f", p {p_value(test.p)}" if test.p is not None else ""
    p += f", {p_value(adjusted_p)} after Holm" if adjusted_p is not None else ""
    return f"{corrected(test, adjusted_p)} ({interval(test)} in {1 / UNIT:.0e}{p})"


def percent(value: float) -> str:
    """A relative improvement."""
    return f"{100 * value:+.3f} %"


def p_value(value: float | None) -> str:
    """Of a test; nothing where there was none."""
    if value is None:
        return ""
    return f"{value:.4f}" if value >= 1e-4 else "< 0.0001"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
