"""Exact metrics of probabilities against labels, over all examples and within groups of them, in float64."""

import numpy as np

from evaluation.ranks import RankedGroups
from evaluation.units import group_indices

CLIP = 1e-7
"""Least distance of a probability from 0 and 1 in logarithms."""
ECE_BINS = 15


def auc(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Returns the share of the pairs of a positive and a negative that are in order; ties count one half.

    A label y between 0 and 1 counts as a positive of weight y and a negative of weight 1 - y.

    Args:
      label: in [0, 1], `[n]`.
      probability: or any other score, `[n]`.
      weight: not negative, `[n]`; None weights all alike.

    Returns:
      None if there is no positive or no negative.
    """
    label, probability, weight = checked(label, probability, weight, scores=True)
    ranked = RankedGroups(np.zeros(len(label), np.int64), probability)
    value = ranked.auc(label * weight, (1 - label) * weight)
    return float(value[0]) if len(value) and np.isfinite(value[0]) else None


def logloss(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Returns the weighted mean of -[y ln p + (1 - y) ln(1 - p)], p within [1e-7, 1 - 1e-7]; None without weight."""
    label, probability, weight = checked(label, probability, weight)
    return ratio(float(weight @ losses(label, probability)), float(weight.sum()))


def normalized_entropy(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Returns the log loss over that of always predicting the base rate; None if all labels are equal.

    Reference: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook" (ADKDD 2014), equation 1.
    """
    label, probability, weight = checked(label, probability, weight)
    total = float(weight.sum())
    return entropy_ratio(float(weight @ losses(label, probability)), float(weight @ label), total)


def calibration(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Returns the sum of the probabilities over the sum of the labels; None if that is 0."""
    label, probability, weight = checked(label, probability, weight)
    return ratio(float(weight @ probability), float(weight @ label))


def ece(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Returns the expected calibration error: the mean over examples of |mean p - mean y| in the example's bin.

    15 bins of equal weight by probability, because click probabilities crowd near 0, where bins of
    equal width would put nearly all of them in one. Equal probabilities share a bin.
    """
    label, probability, weight = checked(label, probability, weight)
    bins = equal_mass_bins(probability, weight)
    gaps = np.bincount(bins, weight * (probability - label), ECE_BINS)
    return ratio(float(np.abs(gaps).sum()), float(weight.sum()))


def gauc_user(
    label: np.ndarray, probability: np.ndarray, user_id: np.ndarray, weight: np.ndarray | None = None
) -> float | None:
    """Returns the mean of the users' AUCs, each weighted by the user's impressions, or the sum of their weights.

    Users without both a click and a non-click have no AUC and are left out, as are rows without a user
    (`group_indices` defines which ids are missing). None if no user is left.

    Reference: Zhu et al., "Optimized Cost per Click in Taobao Display Advertising" (KDD 2017), equation 17.
    """
    return _mean_auc(label, probability, user_id, weight, by_impressions=True)


def uauc(
    label: np.ndarray, probability: np.ndarray, user_id: np.ndarray, weight: np.ndarray | None = None
) -> float | None:
    """Returns the mean of the users' AUCs, in which rows are weighted, and users are not; otherwise as `gauc_user`."""
    return _mean_auc(label, probability, user_id, weight, by_impressions=False)


def gauc_request(
    label: np.ndarray, probability: np.ndarray, request_id: np.ndarray, weight: np.ndarray | None = None
) -> float | None:
    """Returns the mean of the AUCs within lists; lists without both a click and a non-click are left out."""
    return _mean_auc(label, probability, request_id, weight, by_impressions=False)


def _mean_auc(
    label: np.ndarray, probability: np.ndarray, ids: np.ndarray, weight: np.ndarray | None, by_impressions: bool
) -> float | None:
    label, probability, weight = checked(label, probability, weight, scores=True)
    group = group_indices(ids, len(label))
    known = group >= 0
    label, group, weight = label[known], group[known], weight[known]
    ranked = RankedGroups(group, probability[known])
    aucs = ranked.auc(label * weight, (1 - label) * weight)
    return mean_over_groups(aucs, np.bincount(group, weight) if by_impressions else None)


def mean_over_groups(aucs: np.ndarray, weight: np.ndarray | None) -> float | None:
    """Returns the weighted mean over the groups that have an AUC; None if none has."""
    defined = np.isfinite(aucs)
    weights = defined * (1.0 if weight is None else np.asarray(weight, np.float64))
    total = weights.sum()
    return float(np.where(defined, aucs, 0.0) @ weights / total) if total > 0 else None


def losses(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Returns the log loss of each example."""
    clipped = np.clip(probability, CLIP, 1 - CLIP)
    return -(label * np.log(clipped) + (1 - label) * np.log1p(-clipped))


def entropy_ratio(loss: float, positives: float, total: float) -> float | None:
    """Returns the normalized entropy from the summed loss, the summed labels and the summed weights."""
    if not 0 < positives < total:
        return None
    rate = positives / total
    return loss / total / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))


def equal_mass_bins(probability: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the bin of each example, 0 to 14: bins of about equal weight, equal probabilities in one bin."""
    order = np.argsort(probability, kind="stable")
    sorted_probability, sorted_weight = probability[order], weight[order]
    first = np.searchsorted(sorted_probability, sorted_probability, side="left")
    before = np.concatenate([[0.0], np.cumsum(sorted_weight)])
    total = before[-1] or 1.0
    bins = np.empty(len(order), np.int64)
    bins[order] = np.minimum(ECE_BINS * before[first] / total, ECE_BINS - 1).astype(np.int64)
    return bins


def ratio(numerator: float, denominator: float) -> float | None:
    """Returns the quotient; None where it is not defined."""
    return numerator / denominator if denominator > 0 else None


def checked(
    label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None, scores: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the three arrays as float64 `[n]`.

    Args:
      scores: True: `probability` may be any finite number.

    Raises:
      ValueError: lengths differ, a value is not finite or outside its domain.
    """
    label, probability = np.asarray(label, np.float64), np.asarray(probability, np.float64)
    weight = np.ones(label.shape) if weight is None else np.asarray(weight, np.float64)
    if label.ndim != 1 or not label.shape == probability.shape == weight.shape:
        raise ValueError(
            f"label, probability and weight have shapes {label.shape}, {probability.shape} and {weight.shape}; "
            "expected three arrays [n]; select the exposed candidates of requests first"
        )
    _check("label", label, (label >= 0) & (label <= 1), "click probabilities, in [0, 1]; clean the labels")
    if scores:
        _check("score", probability, np.isfinite(probability), "finite numbers; see what the model was given there")
    expected = "probabilities, in [0, 1]; apply a sigmoid, or see what the model was given there"
    _check("probability", probability, scores | ((probability >= 0) & (probability <= 1)), expected)
    _check("weight", weight, (weight >= 0) & np.isfinite(weight), "finite ones from 0; clean the weights")
    return label, probability, weight


def _check(name: str, values: np.ndarray, valid: np.ndarray, expected: str) -> None:
    wrong = np.flatnonzero(~valid)
    if len(wrong):
        received = f"{len(wrong)} of {len(values)} values are wrong, the first, {values[wrong[0]]}, in row {wrong[0]}"
        raise ValueError(f"{name}: {received}; expected {expected}")
