"""Metrics as functions of how often each unit (user, request, row) was drawn: made once, asked for every resample."""

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
        # Of each bin, the gaps that each unit brings: with large units these are few.
        pairs, pair = np.unique(
            unit * ECE_BINS + equal_mass_bins(probability, np.ones(len(label))), return_inverse=True
        )
        self._gaps, self._unit, self._bins = np.bincount(pair, probability - label), pairs // ECE_BINS, pairs % ECE_BINS
        self._keys = keys

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


class Means:
    """Means over rows.

    Args:
      values: `[n]` each, by the key of their mean.
      unit: of each row, `[n]`.
      num_units: U.
    """

    def __init__(self, values: Mapping[str, np.ndarray], unit: np.ndarray, num_units: int):
        self._rows = np.bincount(unit, minlength=num_units).astype(np.float64)
        self._sums = {key: np.bincount(unit, own, num_units) for key, own in values.items()}

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        rows = float(counts @ self._rows)
        return {key: ratio(float(counts @ sums), rows) for key, sums in self._sums.items()}


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


class GroupedAucs:
    """AUCs within groups of rows.

    A group whose rows are all of one unit comes whole or not at all, so that its AUC is computed once; drawn twice,
    it is two groups. A group with rows of several units is one, with the rows that were drawn.

    Args:
      group: index of each row's group, without gaps, `[n]`; rows of group -1 are left out.
      label: `[n]`.
      probability: `[n]`.
      unit: of each row, `[n]`.
      by_group: key of the mean over groups.
      by_row: key of the mean in which a group counts by its rows; None: without.
    """

    def __init__(
        self,
        group: np.ndarray,
        label: np.ndarray,
        probability: np.ndarray,
        unit: np.ndarray,
        by_group: str,
        by_row: str | None = None,
    ):
        known = group >= 0
        group, label, probability, unit = (values[known] for values in (group, label, probability, unit))
        self._by_group, self._by_row = by_group, by_row
        self._aucs = RankedGroups(group, probability).auc(label, 1 - label)
        self._rows = np.bincount(group).astype(np.float64)
        self._unit = np.empty(len(self._aucs), np.int64)
        self._unit[group] = unit
        mixed = np.zeros(len(self._aucs), bool)
        mixed[group[unit != self._unit[group]]] = True
        self._mixed = _Mixed(mixed, group, label, probability, unit) if mixed.any() else None

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        aucs, times = self._aucs, counts[self._unit]
        rows = times * self._rows
        if self._mixed is not None:
            aucs = aucs.copy()
            aucs[self._mixed.which], rows[self._mixed.which] = self._mixed.drawn(counts)
            times[self._mixed.which] = 1.0
        found = {self._by_group: mean_over_groups(aucs, times)}
        return found if self._by_row is None else {self._by_row: mean_over_groups(aucs, rows), **found}


class _Mixed:
    """The groups with rows of several units."""

    def __init__(
        self, mixed: np.ndarray, group: np.ndarray, label: np.ndarray, probability: np.ndarray, unit: np.ndarray
    ):
        self.which, rows = np.flatnonzero(mixed), mixed[group]
        group = (np.cumsum(mixed) - 1)[group[rows]]
        self._ranked = RankedGroups(group, probability[rows])
        order = self._ranked.order
        self._group, self._label, self._unit = group[order], label[rows][order], unit[rows][order]

    def drawn(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """AUCs of the rows that were drawn, and how many these are."""
        weight = counts[self._unit]
        positive = weight * self._label
        aucs = self._ranked.auc_of_sorted(positive, weight - positive)
        return aucs, np.bincount(self._group, weight, len(self.which))
