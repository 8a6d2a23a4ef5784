"""AUC of one large pool of items, again and again for other weights of the units that they come from."""

from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 15
"""Items weighed at once: few enough for all of it to stay in the processor's cache."""


class PooledAuc:
    """Share of the pairs of a positive and a negative of a pool that are in order; ties count one half.

    An item of label y whose unit was drawn c times is a positive of weight c y and a negative of weight
    c (1 - y). An item's own pair is one of the pairs, a tie: one in n, and equal for every score.

    Args:
      order: the items of the pool in ascending order of their scores, `[n]`.
      score: of all items, those of the pool finite, `[N]`.
      label: in [0, 1], `[N]`.
      unit: index of each item's unit, `[N]`.
    """

    def __init__(self, order: np.ndarray, score: np.ndarray, label: np.ndarray, unit: np.ndarray):
        self._label, self._unit = label[order], unit[order]
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
        """The AUC where unit u was drawn `counts[u]` times, `[U]`; None without a positive or a negative."""
        ordered = positives = negatives = 0.0
        for start, stop, ties in self._chunks:
            weight = counts[self._unit[start:stop]]
            positive = weight * self._label[start:stop]
            negative = weight - positive
            ends = np.cumsum(negative)
            below = ends - negative / 2
            if ties is not None:
                tied = np.add.reduceat(negative[ties.items], ties.begins)
                below[ties.items] = np.repeat(ends[ties.last] - tied / 2, ties.lengths)
            here = float(positive.sum())
            ordered += float(positive @ below) + negatives * here
            positives += here
            negatives += float(ends[-1])
        pairs = positives * negatives
        return ordered / pairs if pairs > 0 else None


@dataclass(frozen=True)
class _Ties:
    """The runs of two and more equal scores in a chunk.

    Args:
      items: places in the chunk, run after run.
      begins: where each run begins in `items`.
      last: the place in the chunk of each run's last item.
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
