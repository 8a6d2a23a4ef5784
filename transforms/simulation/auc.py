"""Area under the ROC curve, exact with ties."""

import numpy as np


def auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Probability that a positive's score is above a negative's, ties counting one half.

    (sum of the positives' mid-ranks - P (P + 1) / 2) / (P N) with P positives and N negatives.

    Args:
      scores: [n].
      labels: [n] of 0 and 1.

    Returns:
      The area, or None if all labels are equal.
    """
    positive = np.asarray(labels) == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, group, sizes = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(sizes) - (sizes - 1) / 2.0
    rank_sum = float(mid_ranks[group[positive]].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)
