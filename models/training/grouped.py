"""AUC within groups: the lists of requests, the impressions of users."""

from typing import Any

import numpy as np

from models.training.pointwise import checked
from models.training.ranks import RankedGroups

MISSING = -1
"""Stands for a missing id among numbers."""


def gauc_user(label: np.ndarray, probability: np.ndarray, user_id: np.ndarray) -> float | None:
    """Mean of the users' AUCs, each weighted by the user's impressions.

    Users without both a click and a non-click have no AUC and are left out, as are rows without a user
    (`group_indices` tells which ids are missing). None if nobody is left.

    Reference: Zhu et al., "Optimized Cost per Click in Taobao Display Advertising" (KDD 2017), equation 17.
    """
    return _mean_auc(label, probability, user_id, by_impressions=True)


def uauc(label: np.ndarray, probability: np.ndarray, user_id: np.ndarray) -> float | None:
    """Mean of the users' AUCs, each of weight 1; otherwise as `gauc_user`."""
    return _mean_auc(label, probability, user_id, by_impressions=False)


def gauc_request(label: np.ndarray, probability: np.ndarray, request_id: np.ndarray) -> float | None:
    """Mean of the AUCs within lists, each of weight 1; lists without both a click and a non-click are left out."""
    return _mean_auc(label, probability, request_id, by_impressions=False)


def _mean_auc(label: np.ndarray, probability: np.ndarray, ids: np.ndarray, by_impressions: bool) -> float | None:
    label, probability, _ = checked(label, probability, None, scores=True)
    group = group_indices(ids, len(label))
    known = group >= 0
    label, group = label[known], group[known]
    ranked = RankedGroups(group, probability[known])
    return mean_over_groups(ranked.auc(label, 1 - label), np.bincount(group) if by_impressions else None)


def mean_over_groups(aucs: np.ndarray, weight: np.ndarray | None) -> float | None:
    """Weighted mean over the groups that have an AUC; None if none has."""
    defined = np.isfinite(aucs)
    weights = defined * (1.0 if weight is None else np.asarray(weight, np.float64))
    total = weights.sum()
    return float(np.where(defined, aucs, 0.0) @ weights / total) if total > 0 else None


def group_indices(ids: np.ndarray, size: int) -> np.ndarray:
    """Index of each row's group, from 0 without gaps; -1 where the id is missing.

    Missing are the empty string, -1, None, NaN, NaT, pandas' NA and what an array of `numpy.ma` masks, whatever
    the dtype. Ids of unlike types, b"1" and "1", are two.

    Args:
      ids: bytes, strings or numbers, `[n]`.
      size: n.

    Raises:
      ValueError: another number of ids, or one that cannot be told from others, such as a list.
    """
    values = np.asarray(ids)
    if values.shape != (size,):
        raise ValueError(f"ids have shape {values.shape}, expected ({size},); give one id a row")
    index, missing = _of_objects(values) if values.dtype.kind == "O" else _of_one_type(values)
    if isinstance(ids, np.ma.MaskedArray):
        missing |= np.ma.getmaskarray(ids)
    found = np.full(size, -1)
    found[~missing] = np.unique(index[~missing], return_inverse=True)[1]
    return found


def _of_one_type(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids as they are, and which are missing."""
    if ids.dtype.kind in "SU":
        return ids, np.char.str_len(ids) == 0
    if ids.dtype.kind in "mM":
        return ids, np.isnat(ids)
    missing = ids == MISSING if ids.dtype.kind in "if" else np.zeros(len(ids), bool)
    return ids, missing | np.isnan(ids) if ids.dtype.kind == "f" else missing


def _of_objects(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each distinct id, and which are missing."""
    numbers: dict[Any, int] = {}
    try:
        index = np.array([numbers.setdefault(one, len(numbers)) for one in ids.tolist()], np.int64)
    except TypeError as error:
        raise ValueError(f"ids: {error}; expected bytes, strings or numbers; give one id a row") from error
    return index, np.array([_is_missing(one) for one in numbers], bool)[index]


def _is_missing(one: Any) -> bool:
    if isinstance(one, bytes | str):
        return not one
    try:
        # NaN and NaT are unlike themselves.
        return one is None or bool(one != one) or bool(one == MISSING)
    except TypeError:
        return True  # Of pandas' NA nobody can say whether it is like itself.
