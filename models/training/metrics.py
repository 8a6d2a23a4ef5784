"""The offline metrics of a model's predictions, with confidence intervals."""

from collections.abc import Callable

import numpy as np

from models.training.confidence import bootstrap_intervals
from models.training.grouped import gauc_request, gauc_user, group_indices, mean_over_groups, uauc
from models.training.pointwise import (
    ECE_BINS,
    auc,
    calibration,
    checked,
    ece,
    entropy_ratio,
    equal_mass_bins,
    logloss,
    losses,
    normalised_entropy,
    ratio,
)
from models.training.ranks import RankedGroups

__all__ = [
    "auc",
    "calibration",
    "ece",
    "evaluate",
    "gauc_request",
    "gauc_user",
    "logloss",
    "normalised_entropy",
    "uauc",
]

_Metrics = dict[str, float]
_Part = Callable[[np.ndarray], dict[str, float | None]]


def evaluate(
    label: np.ndarray,
    probability: np.ndarray,
    user_id: np.ndarray | None = None,
    request_id: np.ndarray | None = None,
    resamples: int = 200,
    seed: int = 1,
) -> dict[str, float]:
    """All metrics: `auc`, `logloss`, `ne`, `ece`, `calibration`, `gauc_user`, `uauc`, `gauc_request`.

    Each has a 95 % bootstrap interval, `<key>_low` to `<key>_high`, over requests, or over rows where
    there are no requests. A metric that is not defined (one class only, no groups with both, no ids)
    is left out.

    Args:
      label: in [0, 1], `[n]`; of requests, the exposed candidates only.
      probability: `[n]`.
      user_id: bytes, strings or integers, `[n]`; empty is missing; None: no metrics by user.
      request_id: likewise; None: no metrics by request.
      resamples: bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.

    Raises:
      ValueError: lengths differ, or a value is outside its domain.
    """
    label, probability, _ = checked(label, probability, None)
    size = len(label)
    missing = np.full(size, -1)
    user = missing if user_id is None else group_indices(user_id, size)
    request = missing if request_id is None else group_indices(request_id, size)
    unit = _units(request)
    everyone = np.zeros(size, np.int64)
    parts: list[_Part] = [_Ranking("auc", everyone, label, probability, unit), _Sums(label, probability, unit)]
    if (user >= 0).any():
        parts.append(_Ranking("user", user, label, probability, unit))
    if (request >= 0).any():
        parts.append(_Lists(request, label, probability, unit))

    def metrics(counts: np.ndarray) -> _Metrics:
        found: _Metrics = {}
        for part in parts:
            found |= {key: value for key, value in part(counts).items() if value is not None}
        return found

    num_units = int(unit.max(initial=-1)) + 1
    point = metrics(np.ones(num_units))
    bounds = bootstrap_intervals(metrics, num_units, resamples, seed)
    return point | {key: value for key, value in bounds.items() if key.rpartition("_")[0] in point}


def _units(request: np.ndarray) -> np.ndarray:
    """What is drawn together: the rows of a request; a row without request alone."""
    single = request < 0
    first_free = int(request.max(initial=-1)) + 1
    return np.where(single, first_free - 1 + np.cumsum(single), request)


class _Sums:
    """The metrics that are ratios of sums over rows."""

    def __init__(self, label: np.ndarray, probability: np.ndarray, unit: np.ndarray):
        per_row = [np.ones(len(label)), label, probability, losses(label, probability)]
        self._sums = [np.bincount(unit, values) for values in per_row]
        self._bins = equal_mass_bins(probability, np.ones(len(label)))
        self._gaps, self._unit = probability - label, unit

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        rows, positives, predicted, loss = (float(counts @ sums) for sums in self._sums)
        gaps = np.bincount(self._bins, counts[self._unit] * self._gaps, ECE_BINS)
        return {
            "logloss": ratio(loss, rows),
            "ne": entropy_ratio(loss, positives, rows),
            "ece": ratio(float(np.abs(gaps).sum()), rows),
            "calibration": ratio(predicted, positives),
        }


class _Ranking:
    """`auc` for one group of all rows, `gauc_user` and `uauc` for users; rows of group -1 are left out."""

    def __init__(self, kind: str, group: np.ndarray, label: np.ndarray, probability: np.ndarray, unit: np.ndarray):
        known = group >= 0
        group = group[known]
        self._kind, self._ranked = kind, RankedGroups(group, probability[known])
        order = self._ranked.order
        self._group, self._label, self._unit = group[order], label[known][order], unit[known][order]

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        weight = counts[self._unit]
        positive = weight * self._label
        aucs = self._ranked.auc_of_sorted(positive, weight - positive)
        if self._kind == "auc":
            return {"auc": mean_over_groups(aucs, None)}
        impressions = np.bincount(self._group, weight)
        return {"gauc_user": mean_over_groups(aucs, impressions), "uauc": mean_over_groups(aucs, None)}


class _Lists:
    """`gauc_request`: a list is drawn whole or not at all, so that its AUC is computed once."""

    def __init__(self, request: np.ndarray, label: np.ndarray, probability: np.ndarray, unit: np.ndarray):
        known = request >= 0
        group, label = request[known], label[known]
        self._aucs = RankedGroups(group, probability[known]).auc(label, 1 - label)
        self._unit = np.empty(len(self._aucs), np.int64)
        self._unit[group] = unit[known]

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        return {"gauc_request": mean_over_groups(self._aucs, counts[self._unit])}
