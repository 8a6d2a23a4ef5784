"""Areas under the ROC curve from ranks: scores are sorted once, and the areas computed again for any weights."""

from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 15
"""Items weighted at once: few enough for all of it to stay in the processor's cache."""


class RankedGroups:
    """Scores sorted within groups, for the AUCs of all groups without a loop over them.

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
        """Returns the AUC of each group, `[G]`; NaN for a group without positives or without negatives.

        Args:
          positive: weight of each example as a positive, `[n]`.
          negative: as a negative.
        """
        return self.auc_of_sorted(positive[self.order], negative[self.order])

    def auc_of_sorted(self, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        """Returns what `auc` does, for weights that are in this object's `order` already."""
        if not len(self._ties):
            return np.empty(0)
        if len(self._ties) < len(positive):
            positive, negative = np.add.reduceat(positive, self._ties), np.add.reduceat(negative, self._ties)
        # Negatives below each run, with half of the run itself; the share of lower groups is subtracted after summing.
        ends = np.cumsum(negative)
        below = ends - negative / 2
        positives = np.add.reduceat(positive, self._groups)
        negatives = np.add.reduceat(negative, self._groups)
        lower_groups = ends[self._groups] - negative[self._groups]
        ordered = np.add.reduceat(positive * below, self._groups) - positives * lower_groups
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where((positives > 0) & (negatives > 0), ordered / (positives * negatives), np.nan)


class PooledAuc:
    """Share of the pairs of a positive and a negative of a pool that are in order; ties count one half.

    An item of label y and weight w whose unit was drawn c times is a positive of weight c w y and a negative of weight
    c w (1 - y). An item paired with itself is one of the pairs, a tie: one in n, and the same for every score.

    Args:
      order: the items of the pool in ascending order of their scores, `[n]`.
      score: of all items, those of the pool finite, `[N]`.
      label: in [0, 1], `[N]`.
      unit: index of each item's unit, `[N]`.
      weight: not negative, `[N]`; None weights all alike.
    """

    def __init__(
        self,
        order: np.ndarray,
        score: np.ndarray,
        label: np.ndarray,
        unit: np.ndarray,
        weight: np.ndarray | None = None,
    ):
        self._label, self._unit = label[order], unit[order]
        self._weight = None if weight is None else weight[order]
        runs = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)  # where a run of equal scores starts
        starts = np.append(runs, len(order))
        first = np.unique(np.searchsorted(runs, np.arange(0, len(order), CHUNK)))
        edges = [*first[first < len(runs)].tolist(), len(runs)]
        # A chunk holds whole runs.
        self._chunks = [
            (int(starts[low]), int(starts[high]), _ties(starts[low : high + 1] - starts[low]))
            for low, high in zip(edges[:-1], edges[1:], strict=True)
        ]

    def auc(self, counts: np.ndarray) -> float | None:
        """Returns the AUC where unit u was drawn `counts[u]` times, `[U]`; None without a positive or a negative."""
        ordered = positives = negatives = 0.0
        for start, stop, ties in self._chunks:
            weight = counts[self._unit[start:stop]]
            if self._weight is not None:
                weight = weight * self._weight[start:stop]
            positive = weight * self._label[start:stop]
            negative = weight - positive
            ends = np.cumsum(negative)
            below = ends - negative / 2
            if ties is not None:
                tied = np.add.reduceat(negative[ties.items], ties.begins)
                below[ties.items] = np.repeat(ends[ties.last] - tied / 2, ties.lengths)
            in_chunk = float(positive.sum())
            ordered += float(positive @ below) + negatives * in_chunk
            positives += in_chunk
            negatives += float(ends[-1])
        pairs = positives * negatives
        return ordered / pairs if pairs > 0 else None


@dataclass(frozen=True)
class _Ties:
    """The runs of two and more equal scores in a chunk.

    Args:
      items: positions in the chunk, run after run.
      begins: where each run begins in `items`.
      last: the position in the chunk of each run's last item.
      lengths: of the runs.
    """

    items: np.ndarray
    begins: np.ndarray
    last: np.ndarray
    lengths: np.ndarray


def _ties(starts: np.ndarray) -> _Ties | None:
    lengths = np.diff(starts)
    several = lengths > 1
    if not several.any():
        return None
    chosen = lengths[several]
    begins = np.cumsum(chosen) - chosen
    items = np.arange(chosen.sum()) + np.repeat(starts[:-1][several] - begins, chosen)
    return _Ties(items, begins, starts[1:][several] - 1, chosen)
