"""Clicks from before the log begins, so that the first histories are not all empty."""

from collections.abc import Iterator

import numpy as np

from transforms.simulation.cascade import best
from transforms.simulation.parameters import World
from transforms.simulation.population import Floats, Ints, Items
from transforms.simulation.portable_math import dot, power
from transforms.simulation.portable_random import gumbel, poisson
from transforms.simulation.retrieval import ABSENT, draw_pools

_CHUNK = 4096


def past_clicks(world: World, items: Items, tastes: Floats, rng: np.random.Generator) -> Iterator[tuple[Ints, Ints]]:
    """Users and items of past clicks, chunk by chunk of users.

    A user has a Poisson number of them, at most a full history: those of a popularity-drawn pool of
    the items alive at the log's beginning that are best by taste, quality and Gumbel noise (so an
    item is chosen in proportion to e^logit).

    Args:
      tastes: [users, D] at the log's beginning.
    """
    alive = np.flatnonzero(items.birth <= 0.0)
    weights = power(items.popularity[alive], world.popularity_bias)
    for start in range(0, world.users, _CHUNK):
        taste = tastes[start : start + _CHUNK]
        pool = draw_pools(alive, weights, len(taste), 4 * world.history_length, rng)
        match = dot(np.moveaxis(items.taste[pool], -1, 0), taste.T[:, :, None])
        logit = np.float32(world.taste_strength) * match + items.quality[pool]
        clicks = poisson(rng, world.past_clicks, len(taste), world.history_length)
        score = (logit + gumbel(rng, logit.shape)).astype(np.float32)
        chosen = best(score, pool != ABSENT, clicks, world.history_length)
        rows, columns = np.nonzero(chosen)
        yield rows + start, pool[rows, columns]
