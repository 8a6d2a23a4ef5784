"""Bootstrap confidence intervals: what the metrics might have been on other users of the same kind."""

from collections.abc import Callable

import numpy as np

LEVEL = 0.95


def bootstrap_intervals(
    metrics: Callable[[np.ndarray], dict[str, float]], num_units: int, resamples: int, seed: int
) -> dict[str, float]:
    """95 % intervals, as `<key>_low` and `<key>_high`: percentiles of resamples, moved to have the estimate as mean.

    Each resample draws as many units as there are, with replacement; all rows of a unit (`units.units_of`) come
    together, as their labels are not independent. Resampling adds noise, which biases metrics that grow with
    noise (a calibration error); the move takes that bias away.

    Args:
      metrics: gives the metrics when unit i occurs `counts[i]` times; leaves undefined ones out.
      num_units: number of units.
      resamples: number of resamples; 0: no intervals. A metric undefined in more than half of them has none.
      seed: of the draws.
    """
    if not num_units or not resamples:
        return {}
    generator = np.random.default_rng(seed)
    values: dict[str, list[float]] = {}
    for _ in range(resamples):
        counts = np.bincount(generator.integers(0, num_units, num_units), minlength=num_units)
        for key, value in metrics(counts.astype(np.float64)).items():
            values.setdefault(key, []).append(value)
    estimates = metrics(np.ones(num_units))
    bounds: dict[str, float] = {}
    for key, found in values.items():
        if 2 * len(found) > resamples and key in estimates:
            # Of the places between and beyond the resamples each has the same chance to hold one more, so that few
            # of them do not make the interval narrower.
            ends = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="weibull")
            low, high = ends + estimates[key] - np.mean(found)
            bounds |= {f"{key}_low": float(low), f"{key}_high": float(high)}
    return bounds
