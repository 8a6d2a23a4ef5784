"""Recall and NDCG at k: where the clicked items stand among all candidates of their request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evaluation.pointwise import ratio

RankingDefinition = Literal["standard", "recflow"]
RANKING_DEFINITIONS: tuple[RankingDefinition, ...] = get_args(RankingDefinition)
CUT_OFFS = (10, 50, 100, 200)
MEANINGS: dict[RankingDefinition, str] = {
    "standard": "recall = clicked items in the top k / clicked items; ndcg = dcg@k / ideal dcg@k; "
    "means over the requests with a click",
    "recflow": "clicked items in the top k, and their sum of 1 / log2(rank + 2) without an ideal divisor, "
    "both over all clicked items; of the requests with a click and a candidate without",
}
"""What each definition computes, for reports."""

_COMPARED = 1 << 22
"""Scores compared at once."""


class RequestRanking:
    """`recall@k` and `ndcg@k` for several k.

    With y the labels of a request's candidates and r their ranks, from 0:

        recall@k = sum y [r < k] / sum y
        ndcg@k = sum y [r < k] / log2(r + 2) / the same sum for the best possible order

    `standard` takes means over the requests with a positive. `recflow` is the definition of RecFlow's
    published figures: the sums of all requests with a positive and a negative over all their positives,
    without the divisor of the best possible order, so that a request counts by its number of positives.

    Equal scores share their ranks: each of their possible orders has the same weight, so that the order in which
    candidates are stored has no influence. A k above the number of candidates takes all of them.

    Args:
      probability: or any other score, `[R, M]`; finite where `candidate`.
      candidate: True = real, `[R, M]`.
      label: in [0, 1], above 0 only where `candidate`, `[R, M]`.
      cut_offs: each k, at least 1.
      definition: `standard` or `recflow`.

    Raises:
      ValueError: no k, a k below 1, or no such definition.

    Source: Liu et al., "RecFlow: An Industrial Full Flow Recommendation Dataset" (ICLR 2025), coarse/metrics.py
    of its repository.
    """

    def __init__(
        self,
        probability: np.ndarray,
        candidate: np.ndarray,
        label: np.ndarray,
        cut_offs: Sequence[int] = CUT_OFFS,
        definition: RankingDefinition = "standard",
    ):
        _check_options(cut_offs, definition)
        requests, size = candidate.shape
        request, column = np.nonzero(label > 0)
        gain = label[request, column]
        actual = _ranks(probability, candidate, request, column)
        best = _best_ranks(request, gain)
        discount = 1 / np.log2(np.arange(size) + 2)
        positives = np.bincount(request, gain, requests)
        has_positive = positives > 0
        negative = candidate.sum(axis=1) > np.bincount(request, minlength=requests)

        def summed(ranks: _Ranks, value: np.ndarray) -> np.ndarray:
            return np.bincount(request, gain * ranks.mean_of(value), requests)

        self._values: dict[str, np.ndarray] = {}
        for k in cut_offs:
            top = np.arange(size) < k
            hits, gains = summed(actual, top.astype(np.float64)), summed(actual, top * discount)
            if definition == "standard":
                ideal = summed(best, top * discount)
                hits = np.divide(hits, positives, where=has_positive, out=np.zeros(requests))
                gains = np.divide(gains, ideal, where=has_positive, out=np.zeros(requests))
            self._values |= {f"recall@{k}": hits, f"ndcg@{k}": gains}
        counted = has_positive & negative if definition == "recflow" else has_positive
        self._weight = counted * positives if definition == "recflow" else counted.astype(np.float64)
        self._counted = counted.astype(np.float64)

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        weight, counted = float(counts @ self._weight), counts * self._counted
        return {key: ratio(float(counted @ values), weight) for key, values in self._values.items()}


def _check_options(cut_offs: Sequence[int], definition: str) -> None:
    if not cut_offs or any(k != int(k) or k < 1 for k in cut_offs):
        raise ValueError(f"cut_offs are {tuple(cut_offs)}; expected whole numbers from 1; give for example (10, 50)")
    if definition not in RANKING_DEFINITIONS:
        raise ValueError(f"definition is {definition!r}; expected {' or '.join(RANKING_DEFINITIONS)}; choose one")


@dataclass(frozen=True)
class _Ranks:
    """The ranks that each item may take: `tied` ranks from `first` on, equally likely; both `[P]`."""

    first: np.ndarray
    tied: np.ndarray

    def mean_of(self, value: np.ndarray) -> np.ndarray:
        """Returns the mean over the possible ranks of `value[rank]`, `[P]`."""
        sums = np.concatenate([[0.0], np.cumsum(value)])
        means: np.ndarray = (sums[self.first + self.tied] - sums[self.first]) / self.tied
        return means


def _ranks(score: np.ndarray, candidate: np.ndarray, request: np.ndarray, column: np.ndarray) -> _Ranks:
    masked = np.where(candidate, score, -np.inf)
    first, tied = np.empty(len(request), np.int64), np.empty(len(request), np.int64)
    step = max(_COMPARED // max(candidate.shape[1], 1), 1)
    for start in range(0, len(request), step):
        part = slice(start, start + step)
        others, score_of_item = masked[request[part]], masked[request[part], column[part]][:, None]
        first[part] = (others > score_of_item).sum(axis=1)
        tied[part] = (others == score_of_item).sum(axis=1)
    return _Ranks(first, tied)


def _best_ranks(request: np.ndarray, gain: np.ndarray) -> _Ranks:
    order = np.lexsort((-gain, request))
    new = np.diff(request[order], prepend=-1) != 0
    begins = np.flatnonzero(new)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - begins[np.cumsum(new) - 1]
    return _Ranks(rank, np.ones(len(order), np.int64))
