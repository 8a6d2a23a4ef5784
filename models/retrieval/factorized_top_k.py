"""How often an exact search over a whole catalogue finds what was clicked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.errors import InputError

CUT_OFFS = (1, 10, 50, 100)
_AT_ONCE = 1 << 24
"""Scores that a search may hold at once."""

Search = Callable[[Any, int], tuple[tf.Tensor, tf.Tensor]]
"""Queries and a count to the scores `[B, count]` of the best items, best first, and their places int32 `[B, count]`."""


class CatalogueRecall:
    """Share of clicks whose item is among the k best of all N.

    With s_j the scores of all items for the user of a click on item i:

      recall@k = mean over clicks of [ #{j : s_j >= s_i} <= k ]

    So an item with the very score of the clicked one stands before it: ties never help. An item that is not in the
    catalogue is not found. It is the mean that `tfrs.metrics.FactorizedTopK` gives, kept click by click.

    Args:
      search: exact.
      items: N.
      cut_offs: each k; those above N are left out.
    """

    def __init__(self, search: Search, items: int, cut_offs: Sequence[int] = CUT_OFFS):
        self.cut_offs = tuple(k for k in cut_offs if k <= items)
        self._search, self._items, self._most = search, items, max(self.cut_offs)
        self._ranks: list[np.ndarray] = []

    def take(self, queries: Any, clicked: np.ndarray, left_out: np.ndarray | None = None) -> None:
        """Takes clicks.

        Args:
          queries: of their users, as the search takes them.
          clicked: places of the items `[B]`; -1: not in the catalogue.
          left_out: places of items that are not among the j for a click, its own excepted, padded with -1, `[B, E]`.

        Raises:
          InputError: a score is NaN.
        """
        more = 0 if left_out is None else left_out.shape[1]
        # One more shows whether the last one has an equal behind it.
        scores, places = (np.asarray(one) for one in self._search(queries, min(self._most + 1 + more, self._items)))
        if np.isnan(scores).any():
            click = int(np.argwhere(np.isnan(scores))[0, 0]) + sum(map(len, self._ranks))
            fix = "see what the model was trained on; train it again"
            raise InputError("the model", f"a score of NaN for the user of click {click}", "numbers", fix)
        own = places == clicked[:, np.newaxis]
        least = np.where(own, scores, np.inf).min(axis=1)
        before = scores >= least[:, np.newaxis]
        if left_out is not None:
            before &= ~_among(places, left_out, self._items) | own
        self._ranks.append(np.where(own.any(axis=1), before.sum(axis=1), self._items + 1))

    def found(self) -> dict[str, np.ndarray]:
        """`catalogue_recall@k` by k: of each click so far whether its item is among the k best, `[clicks]`."""
        ranks = np.concatenate([np.empty(0, np.int64), *self._ranks])
        return {f"catalogue_recall@{k}": ranks <= k for k in self.cut_offs}

    def result(self) -> dict[str, float]:
        """Its mean by k."""
        return {key: float(found.mean()) for key, found in self.found().items()}


def _among(places: np.ndarray, left_out: np.ndarray, items: int) -> np.ndarray:
    """Which of the places `[B, C]` are among those left out for the same row, `[B, E]`."""
    first = np.arange(len(places))[:, np.newaxis] * items
    return np.isin(places + first, (left_out + first)[left_out >= 0])


def brute_force(vectors: np.ndarray, scale: float) -> Search:
    """`tfrs.layers.factorized_top_k.BruteForce` for scale <u, v>.

    Args:
      vectors: of all items `[N, W]`.
      scale: where it is negative, the lowest products are the best.

    Returns:
      A search that takes vectors `[B, W]` of at least one user.
    """
    import tensorflow_recommenders as tfrs

    index = tfrs.layers.factorized_top_k.BruteForce().index(tf.constant(vectors, tf.float32))
    size = max(_AT_ONCE // len(vectors), 1)

    def search(users: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        asked = scale * tf.cast(users, tf.float32)
        parts = [index(asked[start : start + size], k=count) for start in range(0, len(asked), size)]
        scores, places = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
        return scores, places

    return search
