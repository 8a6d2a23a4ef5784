"""The offline metrics of a model's predictions, with confidence intervals."""

from collections.abc import Mapping

import numpy as np

from models.training.grouped import gauc_request, gauc_user, group_indices, uauc
from models.training.pointwise import auc, calibration, checked, ece, logloss, normalised_entropy
from models.training.resampling import GroupedAucs, Overall, Part, Sums, with_intervals
from models.training.units import Resample, units_of, without_id

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


def evaluate(
    label: np.ndarray,
    probability: np.ndarray,
    user_id: np.ndarray | None = None,
    request_id: np.ndarray | None = None,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
    references: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """All metrics: `auc`, `logloss`, `ne`, `ece`, `calibration`, `gauc_user`, `uauc`, `gauc_request`.

    Each has a 95 % bootstrap interval, `<key>_low` to `<key>_high`. Drawn are users, with all their rows: what one
    user did is not independent, so that intervals over requests or rows are too narrow where users come again.
    Rows without a user are drawn by request, and those without a request alone; how many units of each kind there
    are is told as `resampled_users`, `resampled_requests` and `resampled_rows`.

    A metric that is not defined (one class only, no groups with both, no ids) is left out. Where some rows lack an
    id, metrics by it leave them out, and `rows_without_user` and `rows_without_request` say how many.

    Args:
      label: in [0, 1], `[n]`; of requests, the exposed candidates only.
      probability: `[n]`.
      user_id: bytes, strings or numbers, `[n]`; `group_indices` tells which are missing; None: no metrics by user.
      request_id: likewise; None: no metrics by request.
      resamples: bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.
      resample: what is drawn, `user`, `request` or `row`; None: the largest of which there are ids.
      references: other scores of the same rows, `[n]` each, by the key that their AUC is to have.

    Raises:
      ValueError: lengths differ, a value is outside its domain, or there are no ids of what is to be drawn.
    """
    label, probability, _ = checked(label, probability, None)
    size = len(label)
    user = None if user_id is None else group_indices(user_id, size)
    request = None if request_id is None else group_indices(request_id, size)
    groups: dict[Resample, np.ndarray] = {"user": _or_missing(user, size), "request": _or_missing(request, size)}
    units = units_of(size, groups, resample)
    parts = exposed_parts(label, probability, groups["user"], groups["request"], units.index, len(units))
    for key, score in (references or {}).items():
        parts.append(Overall(key, label, checked(label, score, None, scores=True)[1], units.index))
    found = with_intervals(parts, len(units), resamples, seed)
    left_out = without_id("user", "rows", user) | without_id("request", "rows", request)
    return found | left_out | units.told() if resamples and found else found | left_out


def _or_missing(group: np.ndarray | None, size: int) -> np.ndarray:
    return np.full(size, -1) if group is None else group


def exposed_parts(
    label: np.ndarray, probability: np.ndarray, user: np.ndarray, request: np.ndarray, unit: np.ndarray, num_units: int
) -> list[Part]:
    """The metrics of `evaluate`, to be asked for each resample.

    Args:
      label: in [0, 1], `[n]`.
      probability: `[n]`.
      user: index of each row's user, from 0 without gaps; -1 = missing, `[n]`.
      request: likewise.
      unit: index of what is drawn together, `[n]`.
      num_units: may exceed those that have rows.
    """
    parts: list[Part] = [Overall("auc", label, probability, unit), Sums(label, probability, unit, num_units)]
    if (user >= 0).any():
        parts.append(GroupedAucs(user, label, probability, unit, "uauc", "gauc_user"))
    if (request >= 0).any():
        parts.append(GroupedAucs(request, label, probability, unit, "gauc_request"))
    return parts
