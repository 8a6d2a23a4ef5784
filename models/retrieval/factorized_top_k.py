"""How often an exact search over a whole catalogue finds what was clicked: `tfrs.metrics.FactorizedTopK`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

CUT_OFFS = (1, 10, 50, 100)
_AT_ONCE = 1 << 24
"""Scores that a search may hold at once."""

Search = Callable[[Any, int], tuple[tf.Tensor, tf.Tensor]]
"""Queries and a count to the scores `[B, count]` of the best items, best first, and their places int32 `[B, count]`."""


class CatalogueRecall:
    """Share of clicks whose item is among the k best of all N, by `tfrs.metrics.FactorizedTopK`.

    With s_j the scores of all items for the user of a click on item i:

      recall@k = mean over clicks of [ #{j : s_j >= s_i} <= k ]

    So an item with the very score of the clicked one stands before it: ties never help. An item that is not in the
    catalogue is not found.

    Args:
      search: exact.
      items: N.
      cut_offs: each k; those above N are left out.
    """

    def __init__(self, search: Search, items: int, cut_offs: Sequence[int] = CUT_OFFS):
        # The package brings in a good deal, and few need it.
        import tensorflow_recommenders as tfrs

        answers: list[tuple[tf.Tensor, tf.Tensor]] = []

        class Found(tfrs.layers.factorized_top_k.TopK):
            """An index that answers with what was found for the queries under way."""

            def index(self, candidates: tf.Tensor, identifiers: tf.Tensor | None = None) -> "Found":
                raise NotImplementedError("the items are those of the search")

            def call(self, queries: tf.Tensor, k: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
                return answers.pop()

            def is_exact(self) -> bool:
                return True

        self.cut_offs = tuple(k for k in cut_offs if k <= items)
        self._search, self._answers, self._most = search, answers, max(self.cut_offs)
        # One more shows whether the last one has an equal behind it.
        self._count = min(self._most + 1, items)
        self._metric = tfrs.metrics.FactorizedTopK(candidates=Found(k=self._most), ks=self.cut_offs)

    def take(self, queries: Any, clicked: np.ndarray) -> None:
        """Takes clicks.

        Args:
          queries: of their users, as the search takes them.
          clicked: places of the items `[B]`; -1: not in the catalogue.
        """
        scores, places = self._search(queries, self._count)
        wanted = tf.constant(clicked, tf.int32)
        scores, places = _behind_equals(scores, places, places == wanted[:, tf.newaxis])
        self._answers.append((scores[:, : self._most], places[:, : self._most]))
        # Items are told by their places; of embeddings it would compute scores, which nothing asks for.
        nothing = tf.zeros([len(clicked), 1])
        self._metric.update_state(nothing, nothing, wanted)

    def result(self) -> dict[str, float]:
        """`catalogue_recall@k` by k, of all clicks so far."""
        values = self._metric.result()
        return {f"catalogue_recall@{k}": float(value) for k, value in zip(self.cut_offs, values, strict=True)}


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


def _behind_equals(scores: tf.Tensor, places: tf.Tensor, clicked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The same, best first, with what was clicked behind all of the same score."""
    scores, places = _sorted(tf.cast(clicked, tf.float32), scores, places)
    return _sorted(-scores, scores, places)


def _sorted(keys: tf.Tensor, scores: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """By rising keys; equal ones stay in their order."""
    order = tf.argsort(keys, axis=1, stable=True)
    return tf.gather(scores, order, batch_dims=1), tf.gather(places, order, batch_dims=1)
