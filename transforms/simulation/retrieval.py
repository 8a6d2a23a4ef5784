"""The pool that retrieval looks at: items alive, drawn without repetition by popularity."""

import numpy as np
from numpy.typing import NDArray

from transforms.simulation.population import Ints
from transforms.simulation.portable_math import total

ABSENT = -1
"""Index of an item that is not there."""


def inclusion_shares(weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """[V] expected draws of each item: proportional to its weight, at most 1, adding up to `size`."""
    if size >= len(weights):
        return np.ones(len(weights))
    certain = np.zeros(len(weights), np.bool_)
    while True:
        rest = ~certain
        shares = np.ones(len(weights))
        shares[rest] = weights[rest] * ((size - certain.sum()) / total(weights[rest]))
        above = rest & (shares > 1.0)
        if not above.any():
            return shares
        certain |= above


def draw_pools(alive: Ints, weights: NDArray[np.float64], pools: int, size: int, rng: np.random.Generator) -> Ints:
    """[pools, size] item indices, each at most once in a pool; `ABSENT` in the places left over.

    The alive items lie in random order on a line of length `size`, each as long as its inclusion
    share, and each pool draws one point in every unit of that line: so the cost does not depend on
    how many items there are. An item that spans the border of two units may be drawn twice; the
    second draw is dropped.

    Args:
      alive: [V] items that exist.
      weights: [V] their weights.
    """
    size = min(size, len(alive))
    order = rng.permutation(len(alive))
    ends = np.cumsum(inclusion_shares(weights, size)[order])
    points = np.arange(size) + rng.random((pools, size))
    drawn = np.minimum(np.searchsorted(ends, points, side="right"), len(alive) - 1)
    again = np.zeros(drawn.shape, np.bool_)
    again[:, 1:] = drawn[:, 1:] == drawn[:, :-1]
    return np.where(again, ABSENT, alive[order[drawn]])
