"""Rank statistics of many groups at once: sorted once, counted for any weights."""

import numpy as np


class RankedGroups:
    """Scores sorted within groups, for AUCs of all groups without a loop over them.

    Args:
      group: index of each example's group, 0 to G - 1, none empty, `[n]`.
      score: `[n]`.

    Attributes:
      order: the examples by group, then score, `[n]`.
    """

    def __init__(self, group: np.ndarray, score: np.ndarray):
        self.order = np.lexsort((score, group)) if len(group) and group.any() else np.argsort(score, kind="stable")
        group, score = group[self.order], score[self.order]
        new_group = np.diff(group, prepend=-1) != 0
        new_tie = new_group | (np.diff(score, prepend=np.nan) != 0)
        self._ties = np.flatnonzero(new_tie)  # where a run of equal scores of one group starts
        self._groups = np.flatnonzero(new_group[self._ties])  # which of these runs start a group

    def auc(self, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        """AUC of each group, `[G]`; NaN for a group without positives or without negatives.

        Args:
          positive: weight of each example as a positive, `[n]`.
          negative: as a negative.
        """
        return self.auc_of_sorted(positive[self.order], negative[self.order])

    def auc_of_sorted(self, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        """As `auc`, of weights that stand in this object's `order` already."""
        if not len(self._ties):
            return np.empty(0)
        if len(self._ties) < len(positive):
            positive, negative = np.add.reduceat(positive, self._ties), np.add.reduceat(negative, self._ties)
        # Negatives below each run, half of its own included; what lower groups add is taken off after summing.
        ends = np.cumsum(negative)
        below = ends - negative / 2
        positives = np.add.reduceat(positive, self._groups)
        negatives = np.add.reduceat(negative, self._groups)
        lower_groups = ends[self._groups] - negative[self._groups]
        ordered = np.add.reduceat(positive * below, self._groups) - positives * lower_groups
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((positives > 0) & (negatives > 0), ordered / (positives * negatives), np.nan)
