"""The offline metrics of a model's predictions, with confidence intervals."""

import numpy as np

from models.training.grouped import gauc_request, gauc_user, group_indices, uauc
from models.training.pointwise import auc, calibration, checked, ece, logloss, normalised_entropy
from models.training.resampling import Lists, Overall, Part, Sums, Users, with_intervals

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
    num_units = int(unit.max(initial=-1)) + 1
    parts = exposed_parts(label, probability, user, request, unit, num_units)
    return with_intervals(parts, num_units, resamples, seed)


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
        parts.append(Users(user, label, probability, unit))
    if (request >= 0).any():
        parts.append(Lists(request, label, probability, unit))
    return parts


def _units(request: np.ndarray) -> np.ndarray:
    """What is drawn together: the rows of a request; a row without request alone."""
    single = request < 0
    first_free = int(request.max(initial=-1)) + 1
    return np.where(single, first_free - 1 + np.cumsum(single), request)
