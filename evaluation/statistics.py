"""Metrics of rows as functions of how often each unit (user, request, row) was drawn: prepared once, computed often."""

from collections.abc import Mapping

import numpy as np

from evaluation.pointwise import ECE_BINS, entropy_ratio, equal_mass_bins, losses, mean_over_groups, ratio
from evaluation.ranks import PooledAuc, RankedGroups


class PointwiseSums:
    """`logloss`, `ne`, `ece` and `calibration`: ratios of weighted sums over rows.

    Args:
      label: `[n]`.
      probability: `[n]`.
      unit: index of each row's unit, `[n]`.
      num_units: U, also those without rows.
      keys: key to report each wanted metric under, by its name; None: all of them by name.
      weight: of each row, `[n]`; None weights all alike.
    """

    def __init__(
        self,
        label: np.ndarray,
        probability: np.ndarray,
        unit: np.ndarray,
        num_units: int,
        keys: Mapping[str, str] | None = None,
        weight: np.ndarray | None = None,
    ):
        weight = np.ones(len(label)) if weight is None else weight
        per_row = [np.ones(len(label)), label, probability, losses(label, probability)]
        self._sums = [np.bincount(unit, weight * values, num_units) for values in per_row]
        # The gaps of each unit in each bin: with large units these pairs are few.
        pairs, pair = np.unique(unit * ECE_BINS + equal_mass_bins(probability, weight), return_inverse=True)
        self._gaps, self._unit = np.bincount(pair, weight * (probability - label)), pairs // ECE_BINS
        self._bins = pairs % ECE_BINS
        self._keys = keys

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        rows, positives, predicted, loss = (float(counts @ sums) for sums in self._sums)
        gaps = np.bincount(self._bins, counts[self._unit] * self._gaps, ECE_BINS)
        values = {
            "logloss": ratio(loss, rows),
            "ne": entropy_ratio(loss, positives, rows),
            "ece": ratio(float(np.abs(gaps).sum()), rows),
            "calibration": ratio(predicted, positives),
        }
        return values if self._keys is None else {key: values[name] for name, key in self._keys.items()}


class Means:
    """Means of values over rows.

    Args:
      values: `[n]` each, by the key to report their mean under.
      unit: index of each row's unit, `[n]`.
      num_units: U, also those without rows.
    """

    def __init__(self, values: Mapping[str, np.ndarray], unit: np.ndarray, num_units: int):
        self._rows = np.bincount(unit, minlength=num_units).astype(np.float64)
        self._sums = {key: np.bincount(unit, value, num_units) for key, value in values.items()}

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        rows = float(counts @ self._rows)
        return {key: ratio(float(counts @ sums), rows) for key, sums in self._sums.items()}


class Auc:
    """AUC of one score over all rows.

    Args:
      key: to report it under.
      label: `[n]`.
      score: any finite numbers, `[n]`.
      unit: index of each row's unit, `[n]`.
      weight: of each row, `[n]`; None weights all alike.
    """

    def __init__(
        self, key: str, label: np.ndarray, score: np.ndarray, unit: np.ndarray, weight: np.ndarray | None = None
    ):
        self._key, self._pool = key, PooledAuc(np.argsort(score), score, label, unit, weight)

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        return {self._key: self._pool.auc(counts)}


class GroupedAucs:
    """AUCs within groups of rows.

    A group whose rows all belong to one unit is drawn as a whole, so that its AUC is computed once; drawn twice, it
    counts as two groups. A group with rows of several units stays one group, with the rows that were drawn.

    Args:
      group: index of each row's group, from 0 without gaps, `[n]`; rows of group -1 are left out.
      label: `[n]`.
      probability: `[n]`.
      unit: index of each row's unit, `[n]`.
      by_group: key to report the mean over groups under.
      by_row: key to report the mean weighted by the groups' rows, or their weights, under; None: do not compute it.
      weight: of each row, `[n]`; None weights all alike.
    """

    def __init__(
        self,
        group: np.ndarray,
        label: np.ndarray,
        probability: np.ndarray,
        unit: np.ndarray,
        by_group: str,
        by_row: str | None = None,
        weight: np.ndarray | None = None,
    ):
        known, weight = group >= 0, np.ones(len(label)) if weight is None else weight
        parts = (group, label, probability, unit, weight)
        group, label, probability, unit, weight = (values[known] for values in parts)
        self._by_group, self._by_row = by_group, by_row
        self._aucs = RankedGroups(group, probability).auc(label * weight, (1 - label) * weight)
        self._rows = np.bincount(group, weight)
        self._unit = np.empty(len(self._aucs), np.int64)
        self._unit[group] = unit
        mixed = np.zeros(len(self._aucs), bool)
        mixed[group[unit != self._unit[group]]] = True
        self._mixed = _MixedGroups(mixed, group, label, probability, unit, weight) if mixed.any() else None

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        aucs, times = self._aucs, counts[self._unit]
        rows = times * self._rows
        if self._mixed is not None:
            aucs = aucs.copy()
            aucs[self._mixed.which], rows[self._mixed.which] = self._mixed.drawn(counts)
            times[self._mixed.which] = 1.0
        means = {self._by_group: mean_over_groups(aucs, times)}
        return means if self._by_row is None else {self._by_row: mean_over_groups(aucs, rows), **means}


class _MixedGroups:
    """Groups with rows of several units."""

    def __init__(
        self,
        mixed: np.ndarray,
        group: np.ndarray,
        label: np.ndarray,
        probability: np.ndarray,
        unit: np.ndarray,
        weight: np.ndarray,
    ):
        self.which, rows = np.flatnonzero(mixed), mixed[group]
        group = (np.cumsum(mixed) - 1)[group[rows]]
        self._ranked = RankedGroups(group, probability[rows])
        order = self._ranked.order
        self._group, self._label, self._unit = group[order], label[rows][order], unit[rows][order]
        self._weight = weight[rows][order]

    def drawn(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the AUC of each group's drawn rows, and the sum of their weights."""
        weight = counts[self._unit] * self._weight
        positive = weight * self._label
        aucs = self._ranked.auc_of_sorted(positive, weight - positive)
        return aucs, np.bincount(self._group, weight, len(self.which))
