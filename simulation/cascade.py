"""The cascade that logs: retrieval, pre-ranking, ranking, exposure; and clicks from before the log."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.parameters import World
from simulation.population import Floats, Ints, Items
from transforms.portable_math import dot, power, total
from transforms.portable_random import gumbel, normal, poisson

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


PRERANKED, RANKED, EXPOSED = 1, 2, 3
"""Values of `stage`: how far an item got; 0 is padding."""


def logging_scores(
    world: World, items: Items, appeal: Floats, item: Ints, noise: float, rng: np.random.Generator
) -> Floats:
    """[B, M] scores of one stage.

    relevance_weight * appeal + popularity_bias * popularity score + noise * N(0, 1), with a
    popularity score of 1 for the most popular item and -1 for the least.

    Args:
      appeal: [B, M] what the stage knows of the items: their true relevance, or logits of a click model.
    """
    scores = np.float32(world.relevance_weight) * appeal
    scores += np.float32(world.popularity_bias) * items.popularity_score[item]
    scores += np.float32(noise) * normal(rng, appeal.shape)
    return scores


def retrieve(world: World, items: Items, pool: Ints, appeal: Floats, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """The candidates that reach pre-ranking, and their appeal, both [B, M].

    They stand in the pool's random order, which says nothing of their scores; padding (`ABSENT`,
    appeal 0) comes last.

    Args:
      pool: [B, P] items looked at; `ABSENT` where there is none.
      appeal: [B, P]; see `logging_scores`.
    """
    scores = logging_scores(world, items, appeal, pool, world.retrieval_noise, rng)
    kept = rng.integers(world.min_candidates, world.candidates, len(pool), np.int64, endpoint=True)
    chosen = best(scores, pool != ABSENT, kept, world.candidates)
    width = min(world.candidates, pool.shape[1])
    columns = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
    real = np.take_along_axis(chosen, columns, axis=1)
    item = np.full((len(pool), world.candidates), ABSENT, np.int64)
    candidate_appeal = np.zeros(item.shape, np.float32)
    item[:, :width] = np.where(real, np.take_along_axis(pool, columns, axis=1), ABSENT)
    candidate_appeal[:, :width] = np.where(real, np.take_along_axis(appeal, columns, axis=1), np.float32(0.0))
    return item, candidate_appeal


@dataclass(frozen=True)
class Outcome:
    """What the later stages decided, all [B, M].

    Args:
      stage: `PRERANKED`, `RANKED`, `EXPOSED`; 0 for padding.
      position: 1 = top of the page; 0 = not shown.
      score: the ranking stage's score of every candidate, though the cascade asks the ranking
        stage only about those that passed pre-ranking; 0 for padding.
    """

    stage: Ints
    position: Ints
    score: Floats


def rank(world: World, items: Items, item: Ints, appeal: Floats, rng: np.random.Generator) -> Outcome:
    """Pre-ranks, ranks and shows the candidates, by what `logging_scores` makes of their appeal."""
    real = item != ABSENT
    size = len(item)
    first = logging_scores(world, items, appeal, item, world.preranking_noise, rng)
    second = logging_scores(world, items, appeal, item, world.ranking_noise, rng)
    ranked = best(first, real, np.full(size, world.ranked_items), world.ranked_items)
    shown = best(second, ranked, np.full(size, world.exposed_items), world.exposed_items)
    return Outcome(
        stage=real.astype(np.int64) + ranked + shown,
        position=_positions(second, shown, world.exposed_items),
        score=np.where(real, second, np.float32(0.0)),
    )


def best(scores: Floats, eligible: NDArray[np.bool_], kept: Ints, most: int) -> NDArray[np.bool_]:
    """[B, P] True for the `kept[b] <= most` best eligible entries of each row, or all if they are fewer.

    Of equal scores the first ones are kept. (What `argpartition` does with them depends on the processor.)
    """
    masked = np.where(eligible, scores, np.float32(-np.inf))
    negated = -masked
    if masked.shape[1] > most:
        negated = np.partition(negated, most - 1, axis=1)[:, :most]
    negated = np.sort(negated, axis=1)
    last = -np.take_along_axis(negated, np.clip(kept - 1, 0, negated.shape[1] - 1)[:, None], axis=1)
    above, level = masked > last, masked == last
    left = kept - above.sum(axis=1)
    if (level.sum(axis=1) > left).any():
        level &= np.cumsum(level, axis=1) <= left[:, None]
    return (above | level) & eligible


def _positions(scores: Floats, shown: NDArray[np.bool_], most: int) -> Ints:
    order = np.argsort(np.where(shown, -scores, np.float32(np.inf)), axis=1, kind="stable")[:, :most]
    position = np.zeros(scores.shape, np.int64)
    np.put_along_axis(position, order, np.arange(1, order.shape[1] + 1), axis=1)
    return np.where(shown, position, 0)


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
