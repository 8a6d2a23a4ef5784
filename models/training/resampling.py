"""Metrics as functions of how often each unit (a request, a row) was drawn: made once, asked for every resample."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from models.training.confidence import bootstrap_intervals
from models.training.grouped import mean_over_groups
from models.training.pointwise import ECE_BINS, entropy_ratio, equal_mass_bins, losses, ratio
from models.training.pooled_auc import PooledAuc
from models.training.ranks import RankedGroups

Part = Callable[[np.ndarray], Mapping[str, float | None]]
"""Takes the counts of the units, `[U]`, gives metrics by key; None where one is not defined."""


def with_intervals(parts: Sequence[Part], num_units: int, resamples: int, seed: int) -> dict[str, float]:
    """All defined metrics of the parts, and their 95 % intervals as `<key>_low` and `<key>_high`.

    Args:
      parts: keys are distinct.
      num_units: U.
      resamples: bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.
    """

    def metrics(counts: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = {}
        for part in parts:
            found |= {key: value for key, value in part(counts).items() if value is not None}
        return found

    point = metrics(np.ones(num_units))
    bounds = bootstrap_intervals(metrics, num_units, resamples, seed)
    return point | {key: value for key, value in bounds.items() if key.rpartition("_")[0] in point}


class Sums:
    """`logloss`, `ne`, `ece` and `calibration`: ratios of sums over rows.

    Args:
      label: `[n]`.
      probability: `[n]`.
      unit: of each row, `[n]`.
      num_units: U.
      keys: the metrics wanted, by the keys that they are to have; None: all by their own.
    """

    def __init__(
        self,
        label: np.ndarray,
        probability: np.ndarray,
        unit: np.ndarray,
        num_units: int,
        keys: Mapping[str, str] | None = None,
    ):
        per_row = [np.ones(len(label)), label, probability, losses(label, probability)]
        self._sums = [np.bincount(unit, values, num_units) for values in per_row]
        self._bins = equal_mass_bins(probability, np.ones(len(label)))
        self._gaps, self._unit, self._keys = probability - label, unit, keys

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        rows, positives, predicted, loss = (float(counts @ sums) for sums in self._sums)
        gaps = np.bincount(self._bins, counts[self._unit] * self._gaps, ECE_BINS)
        found = {
            "logloss": ratio(loss, rows),
            "ne": entropy_ratio(loss, positives, rows),
            "ece": ratio(float(np.abs(gaps).sum()), rows),
            "calibration": ratio(predicted, positives),
        }
        return found if self._keys is None else {key: found[name] for name, key in self._keys.items()}


class Overall:
    """The AUC of one score over all rows, under a key of its own.

    Args:
      key: of the metric.
      label: `[n]`.
      score: any finite numbers, `[n]`.
      unit: of each row, `[n]`.
    """

    def __init__(self, key: str, label: np.ndarray, score: np.ndarray, unit: np.ndarray):
        self._key, self._pool = key, PooledAuc(np.argsort(score), score, label, unit)

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        return {self._key: self._pool.auc(counts)}


class Users:
    """`gauc_user` and `uauc`; rows of user -1 are left out.

    Args:
      user: index of each row's user, without gaps, `[n]`.
      label: `[n]`.
      probability: `[n]`.
      unit: of each row, `[n]`.
    """

    def __init__(self, user: np.ndarray, label: np.ndarray, probability: np.ndarray, unit: np.ndarray):
        known = user >= 0
        user = user[known]
        self._ranked = RankedGroups(user, probability[known])
        order = self._ranked.order
        self._user, self._label, self._unit = user[order], label[known][order], unit[known][order]

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        weight = counts[self._unit]
        positive = weight * self._label
        aucs = self._ranked.auc_of_sorted(positive, weight - positive)
        impressions = np.bincount(self._user, weight)
        return {"gauc_user": mean_over_groups(aucs, impressions), "uauc": mean_over_groups(aucs, None)}


class Lists:
    """`gauc_request`: a list is drawn whole or not at all, so that its AUC is computed once.

    Args:
      request: index of each row's request, without gaps, `[n]`; rows of request -1 are left out.
      label: `[n]`.
      probability: `[n]`.
      unit: of each row, `[n]`; the same for all rows of a request.
    """

    def __init__(self, request: np.ndarray, label: np.ndarray, probability: np.ndarray, unit: np.ndarray):
        known = request >= 0
        group, label = request[known], label[known]
        self._aucs = RankedGroups(group, probability[known]).auc(label, 1 - label)
        self._unit = np.empty(len(self._aucs), np.int64)
        self._unit[group] = unit[known]

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        return {"gauc_request": mean_over_groups(self._aucs, counts[self._unit])}
