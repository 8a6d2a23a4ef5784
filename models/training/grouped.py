"""AUC within groups: the lists of requests, the impressions of users."""

import numpy as np

from models.training.pointwise import checked
from models.training.ranks import RankedGroups


def gauc_user(label: np.ndarray, probability: np.ndarray, user_id: np.ndarray) -> float | None:
    """Mean of the users' AUCs, each weighted by the user's impressions.

    Users without both a click and a non-click have no AUC and are left out, as are rows without a user
    (empty id). None if nobody is left.

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
    weights = np.ones(len(aucs)) if weight is None else np.asarray(weight, np.float64)
    total = weights[defined].sum()
    return float(aucs[defined] @ weights[defined] / total) if total > 0 else None


def group_indices(ids: np.ndarray, size: int) -> np.ndarray:
    """Index of each row's group, from 0 without gaps; -1 where the id is missing (empty).

    Args:
      ids: bytes, strings or integers, `[n]`.
      size: n.

    Raises:
      ValueError: another number of ids.
    """
    ids = np.asarray(ids)
    if ids.shape != (size,):
        raise ValueError(f"ids have shape {ids.shape}, expected ({size},); give one id a row")
    if ids.dtype.kind == "O":
        ids = ids.astype("S") if all(isinstance(value, bytes) for value in ids[:1]) else ids.astype("U")
    distinct, index = np.unique(ids, return_inverse=True)
    if ids.dtype.kind in "SU" and len(distinct) and not distinct[0]:
        return index - 1  # The empty id sorts first.
    return index
