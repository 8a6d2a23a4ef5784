"""Retrieval from a whole catalogue: how often clicked items are found, and what is retrieved is truly worth."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from transforms.errors import InputError

CUT_OFFS = (1, 10, 50, 100)

Search = Callable[[Any, int], tuple[Any, Any]]
"""Takes queries and a count; returns the scores `[B, count]` of the best items, best first, and their places, the same
shape: arrays or tensors."""


class CatalogueRecall:
    """Share of clicks whose item is among the k best of all N.

    With s_j the scores of all items for the user of a click on item i:

      recall@k = mean over clicks of [ #{j : s_j >= s_i} <= k ]

    An item with the same score as the clicked one counts as better: ties never help. An item that is not in the
    catalogue is never retrieved. The mean equals that of `tfrs.metrics.FactorizedTopK`, and is kept click by click.

    Args:
      search: exact.
      items: N.
      cut_offs: each k; those above N are left out.
    """

    def __init__(self, search: Search, items: int, cut_offs: Sequence[int] = CUT_OFFS):
        self.cut_offs = tuple(k for k in cut_offs if k <= items)
        self._search, self._items, self._largest = search, items, max(self.cut_offs)
        self._ranks: list[np.ndarray] = []

    def update(self, queries: Any, clicked: np.ndarray, excluded: np.ndarray | None = None) -> None:
        """Adds clicks.

        Args:
          queries: of their users, as the search takes them.
          clicked: places of the items `[B]`; -1: not in the catalogue.
          excluded: places of items that are not retrieved for a click, unless clicked, padded with -1, `[B, E]`.

        Raises:
          InputError: a score is NaN.
        """
        more = 0 if excluded is None else excluded.shape[1]
        # One more shows whether the last one has an equal behind it.
        scores, places = (np.asarray(one) for one in self._search(queries, min(self._largest + 1 + more, self._items)))
        if np.isnan(scores).any():
            click = int(np.argwhere(np.isnan(scores))[0, 0]) + sum(map(len, self._ranks))
            fix = "see what the model was trained on; train it again"
            raise InputError("the model", f"a score of NaN for the user of click {click}", "numbers", fix)
        is_clicked = places == clicked[:, np.newaxis]
        clicked_score = np.where(is_clicked, scores, np.inf).min(axis=1)
        before = scores >= clicked_score[:, np.newaxis]
        if excluded is not None:
            before &= ~among(places, excluded, self._items) | is_clicked
        self._ranks.append(np.where(is_clicked.any(axis=1), before.sum(axis=1), self._items + 1))

    def hits(self) -> dict[str, np.ndarray]:
        """Returns True for each click so far whose item is among the k best, `[clicks]`, by `catalogue_recall@k`."""
        ranks = np.concatenate([np.empty(0, np.int64), *self._ranks])
        return {f"catalogue_recall@{k}": ranks <= k for k in self.cut_offs}

    def result(self) -> dict[str, float]:
        """Returns the mean of each of the `hits`."""
        return {key: float(hits.mean()) for key, hits in self.hits().items()}


def true_values(
    probability: np.ndarray, retrieved: np.ndarray, cut_offs: Sequence[int] = CUT_OFFS
) -> dict[str, np.ndarray]:
    """Returns the mean true click probability of the k items retrieved for each request, `[R]`, by `true_value@k`.

    Args:
      probability: of a click on each of the N items, `[R, N]`.
      retrieved: places of items, best first, `[R, K]`; -1 where fewer are left, which does not count.
      cut_offs: each k; those above K are left out.
    """
    chosen = np.take_along_axis(probability, np.maximum(retrieved, 0), axis=1)
    means = _means_of_first(np.where(retrieved >= 0, chosen, -np.inf), cut_offs)
    return {f"true_value@{k}": mean for k, mean in means.items()}


def true_value_bounds(probability: np.ndarray, count: int, cut_offs: Sequence[int] = CUT_OFFS) -> dict[str, np.ndarray]:
    """Returns what the best and a random choice reach for each request, as `true_values` does, `[R]`.

    Args:
      probability: of a click on each of the N items, `[R, N]`; minus infinity for what is not to be retrieved.
      count: K.
      cut_offs: each k; those above K are left out.

    Returns:
      `oracle_true_value@k`, of the k items with the highest probability, and `random_true_value@k`, of all.
    """
    best = -np.sort(-np.partition(probability, -count, axis=1)[:, -count:], axis=1)
    allowed = probability > -np.inf
    mean = np.where(allowed, probability, 0.0).sum(axis=1, dtype=np.float64) / np.maximum(allowed.sum(axis=1), 1)
    ideal = _means_of_first(best, cut_offs)
    bounds = {f"oracle_true_value@{k}": values for k, values in ideal.items()}
    return bounds | {f"random_true_value@{k}": mean for k in ideal}


def _means_of_first(values: np.ndarray, cut_offs: Sequence[int]) -> dict[int, np.ndarray]:
    """Returns the mean of the first k values of each row that are not minus infinity, `[R]`, by k."""
    real = values > -np.inf
    sums, counts = np.cumsum(np.where(real, values, 0.0), axis=1, dtype=np.float64), np.cumsum(real, axis=1)
    kept = [k for k in cut_offs if k <= values.shape[1]]
    return {k: sums[:, k - 1] / np.maximum(counts[:, k - 1], 1) for k in kept}


def among(places: np.ndarray, excluded: np.ndarray, items: int) -> np.ndarray:
    """Returns True for places `[B, C]` that are among those excluded for the same row, `[B, E]`."""
    first = np.arange(len(places))[:, np.newaxis] * items
    return np.isin(places + first, (excluded + first)[excluded >= 0])
