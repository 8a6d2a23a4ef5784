"""Exact metrics of probabilities against labels, example by example, in float64."""

import numpy as np

from models.training.ranks import RankedGroups

CLIP = 1e-7
"""Probabilities are kept so far from 0 and 1 in logarithms."""
ECE_BINS = 15


def auc(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Share of pairs of a positive and a negative that are in order; ties count one half.

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
    """Weighted mean of -[y ln p + (1 - y) ln(1 - p)], p clipped to [1e-7, 1 - 1e-7]; None without weight."""
    label, probability, weight = checked(label, probability, weight)
    return ratio(float(weight @ losses(label, probability)), float(weight.sum()))


def normalised_entropy(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Log loss over that of always giving the base rate; None if all labels are equal.

    Reference: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook" (ADKDD 2014), equation 1.
    """
    label, probability, weight = checked(label, probability, weight)
    total = float(weight.sum())
    return entropy_ratio(float(weight @ losses(label, probability)), float(weight @ label), total)


def calibration(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Sum of the probabilities over the sum of the labels; None if that is 0."""
    label, probability, weight = checked(label, probability, weight)
    return ratio(float(weight @ probability), float(weight @ label))


def ece(label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float | None:
    """Expected calibration error: mean over examples of |mean p - mean y| in the example's bin.

    15 bins of equal weight by probability, because click probabilities crowd near 0, where bins of
    equal width would put nearly all of them in one. Equal probabilities share a bin.
    """
    label, probability, weight = checked(label, probability, weight)
    bins = equal_mass_bins(probability, weight)
    gaps = np.bincount(bins, weight * (probability - label), ECE_BINS)
    return ratio(float(np.abs(gaps).sum()), float(weight.sum()))


def losses(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Log loss of each example."""
    clipped = np.clip(probability, CLIP, 1 - CLIP)
    return -(label * np.log(clipped) + (1 - label) * np.log1p(-clipped))


def entropy_ratio(loss: float, positives: float, total: float) -> float | None:
    """Normalised entropy from the summed loss, the summed labels and the summed weights."""
    if not 0 < positives < total:
        return None
    rate = positives / total
    return loss / total / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))


def equal_mass_bins(probability: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """For each example its bin, 0 to 14: bins of about equal weight, equal probabilities together."""
    order = np.argsort(probability, kind="stable")
    sorted_probability, sorted_weight = probability[order], weight[order]
    first = np.searchsorted(sorted_probability, sorted_probability, side="left")
    before = np.concatenate([[0.0], np.cumsum(sorted_weight)])
    total = before[-1] or 1.0
    bins = np.empty(len(order), np.int64)
    bins[order] = np.minimum(ECE_BINS * before[first] / total, ECE_BINS - 1).astype(np.int64)
    return bins


def ratio(numerator: float, denominator: float) -> float | None:
    """The quotient; None where it is not defined."""
    return numerator / denominator if denominator > 0 else None


def checked(
    label: np.ndarray, probability: np.ndarray, weight: np.ndarray | None, scores: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three as float64 `[n]`.

    Args:
      scores: True lets `probability` be any finite number.

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


def _check(name: str, values: np.ndarray, right: np.ndarray, expected: str) -> None:
    wrong = np.flatnonzero(~right)
    if len(wrong):
        received = f"{len(wrong)} of {len(values)} values are wrong, the first, {values[wrong[0]]}, in row {wrong[0]}"
        raise ValueError(f"{name}: {received}; expected {expected}")
