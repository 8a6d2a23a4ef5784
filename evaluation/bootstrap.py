"""Bootstrap confidence intervals: the range of a metric on other users (or requests, or rows) of the same kind."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

LEVEL = 0.95

Statistic = Callable[[np.ndarray], Mapping[str, float | None]]
"""Takes how often each unit was drawn, `[U]`; returns metrics by key, None for one that is not defined."""


def with_intervals(statistics: Sequence[Statistic], num_units: int, resamples: int, seed: int) -> dict[str, float]:
    """Returns all defined metrics, and their 95 % intervals as `<key>_low` and `<key>_high`.

    An interval has the percentiles of the resamples as its ends, shifted to have the estimate as mean. Each resample
    draws as many units as there are, with replacement; all rows of a unit (`units.units_of`) come together, as their
    labels are not independent. Resampling adds noise, which biases metrics that grow with noise (a calibration
    error); the shift takes that bias away.

    Args:
      statistics: with distinct keys.
      num_units: U.
      resamples: number of resamples; 0: no intervals. A metric undefined in more than half of them has none.
      seed: of the draws.
    """

    def metrics(counts: np.ndarray) -> dict[str, float]:
        values: dict[str, float] = {}
        for statistic in statistics:
            values |= {key: value for key, value in statistic(counts).items() if value is not None}
        return values

    estimates = metrics(np.ones(num_units))
    if not num_units or not resamples:
        return estimates
    generator = np.random.default_rng(seed)
    resampled: dict[str, list[float]] = {}
    for _ in range(resamples):
        counts = np.bincount(generator.integers(0, num_units, num_units), minlength=num_units)
        for key, value in metrics(counts.astype(np.float64)).items():
            resampled.setdefault(key, []).append(value)
    result = dict(estimates)
    for key, values in resampled.items():
        if 2 * len(values) > resamples and key in estimates:
            # Each gap between resamples, and beyond them, is as likely to hold one more (Weibull's positions), so that
            # a small number of resamples does not make the interval narrower.
            ends = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="weibull")
            low, high = ends + estimates[key] - np.mean(values)
            result |= {f"{key}_low": float(low), f"{key}_high": float(high)}
    return result
