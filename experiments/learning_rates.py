"""The choice of a learning rate: beyond an end that was best, until the best lies between two others."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor, log10
from pathlib import Path
from statistics import fmean

from experiments.grid import cell_file

_LEAST, _GREATEST = 1e-5, 0.1
Losses = Mapping[float, Sequence[float]]
"""Eval log loss by learning rate, one for each tuning seed."""


def rates_to_try(
    rates: Iterable[float], losses_of: Callable[[float], Sequence[float] | None]
) -> tuple[tuple[float, ...], float | None]:
    """Returns the rates that a method tries, ascending, and the best of them.

    Where the best is the least or the greatest rate that was tried, the next one beyond it comes in.

    Args:
      rates: the first ones; one alone is not tried.
      losses_of: returns the losses of a rate; None while it has no result.

    Returns:
      The rates known yet, and the one with the least mean loss, which is None until all of them have a result.
    """
    known = sorted(rates)
    if len(known) == 1:
        return tuple(known), known[0]
    while True:
        losses = {rate: values for rate in known if (values := losses_of(rate)) is not None}
        if len(losses) < len(known):
            return tuple(known), None
        beyond = next_rate(losses)
        if beyond is None:
            return tuple(known), best_rate(losses)
        known = sorted([*known, beyond])


def monitored_losses(root: Path, cells: Sequence[str]) -> list[float] | None:
    """Returns what cells, given by their names, monitored on eval at their best epoch; None while one has no result."""
    files = [cell_file(root, name) for name in cells]
    if not all(file.is_file() for file in files):
        return None
    return [float(json.loads(file.read_text())["monitored"]) for file in files]


def best_rate(losses: Losses) -> float:
    """Returns the rate with the least mean loss; of several the least rate."""
    return min(sorted(losses), key=lambda rate: fmean(losses[rate]))


def next_rate(losses: Losses) -> float | None:
    """Returns the rate beyond an end that was best; None where the best lies between two others."""
    best = best_rate(losses)
    for end, up in ((max(losses), True), (min(losses), False)):
        if best == end:
            beyond = neighbor(best, up)
            return beyond if _LEAST <= beyond <= _GREATEST else None
    return None


def neighbor(rate: float, up: bool) -> float:
    """Returns the next rate above or below one, of the series 0.001, 0.003, 0.01, and so on."""
    exponent = floor(log10(rate))
    series = [float(f"{digit}e{power}") for power in range(exponent - 1, exponent + 2) for digit in (1, 3)]
    if up:
        return min(value for value in series if value > rate * (1 + 1e-9))
    return max(value for value in series if value < rate * (1 - 1e-9))
