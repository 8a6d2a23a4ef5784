"""Learning rates: how one is chosen of those that were tried, and what is tried beyond them."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from statistics import fmean

TUNED, EQUAL = "tuned", "equal"
RATES = (TUNED, EQUAL)
"""Each method at the rate that tuning chose for it, and all at one rate."""
_LEAST, _GREATEST = 1e-5, 0.1

Losses = Mapping[float, Sequence[float]]
"""Eval log loss by rate, one a tuning seed."""


def best_rate(losses: Losses) -> float:
    """The rate with the least mean loss; of several the least rate."""
    return min(sorted(losses), key=lambda rate: fmean(losses[rate]))


def next_rate(losses: Losses) -> float | None:
    """What to try next: the rate beyond an end that was best; None where the best lies between two others."""
    best = best_rate(losses)
    for end, up in ((max(losses), True), (min(losses), False)):
        if best == end:
            beyond = neighbour(best, up)
            return beyond if _LEAST <= beyond <= _GREATEST else None
    return None


def neighbour(rate: float, up: bool) -> float:
    """The next rate above or below one, of the series 0.001, 0.003, 0.01, and so on."""
    exponent = floor(log10(rate))
    series = [float(f"{digit}e{power}") for power in range(exponent - 1, exponent + 2) for digit in (1, 3)]
    if up:
        return min(value for value in series if value > rate * (1 + 1e-9))
    return max(value for value in series if value < rate * (1 - 1e-9))
