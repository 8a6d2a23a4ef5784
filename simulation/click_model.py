"""A model of clicks that a logging cascade may have: it knows what an earlier log showed, and no truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulation.cascade import draw_pools, rank, retrieve
from simulation.clicks import Requests, click_probability, item_age_hours, relevance
from simulation.parameters import World
from simulation.population import MOBILE_SHARE, Floats, Ints, Items, Users
from transforms.portable_math import Doubles, log, power, sigmoid, total

PRIOR = 4.0
"""Strength of the normal prior on each weight: its precision, so that a weight has a standard deviation of 1/2."""
_PASSES = 8
_CHUNK = 1024
_PRICE_EDGES = np.array([-1.0, 0.0, 1.0], np.float32)
_AGE_EDGES = np.array([24.0, 72.0, 168.0, 720.0], np.float32)


@dataclass(frozen=True)
class ClickModel:
    """A logistic regression on one-hot fields: the logit of a click is the sum of one weight a field.

    Args:
      world, users, items: that it knows the visible traits of.
      weights: of each of `fields`.
    """

    world: World
    users: Users
    items: Items
    weights: Sequence[Doubles]

    def logits(self, requests: Requests, item: Ints) -> Floats:
        """[B, M] logits of a click on `item[b, m]`, but for what all items of a request share."""
        ids = fields(self.world, self.users, self.items, requests, item)
        logit: Floats = sum_of(self.weights, ids).astype(np.float32)
        return logit


def fields(world: World, users: Users, items: Items, requests: Requests, item: Ints) -> list[Ints]:
    """[B, M] ids of what a log shows of each item for each request.

    The item; segment x category; user x category; age bucket x band of price; band of the item's age.
    """
    user, category = requests.user[:, None], items.category[item]
    price = np.searchsorted(_PRICE_EDGES, items.price_score[item])
    return [
        item,
        users.segment[user] * world.categories + category,
        user * world.categories + category,
        users.age_bucket[user] * (len(_PRICE_EDGES) + 1) + price,
        np.searchsorted(_AGE_EDGES, item_age_hours(items, requests, item)),
    ]


def learned_from_clicks(
    world: World, users: Users, items: Items, tastes: Floats, rng: np.random.Generator
) -> ClickModel:
    """Returns the model that fits the clicks of `world.learning_requests` requests just before the log begins.

    A hand-made policy answered them: the same cascade, whose scores are popularity and noise alone. So the
    model learns only from clicks on items that were shown for no merit that it would have to guess.

    Args:
      tastes: [users, D] at the log's beginning.
    """
    policy = world.model_copy(update={"relevance_weight": 0.0})
    alive = np.flatnonzero(items.birth <= 0.0)
    weights, ends = power(items.popularity[alive], world.popularity_bias), np.cumsum(users.activity)
    parts: list[list[Ints]] = []
    labels: list[np.ndarray] = []
    for start in range(0, world.learning_requests, _CHUNK):
        size = min(_CHUNK, world.learning_requests - start)
        user = np.minimum(np.searchsorted(ends, rng.random(size), side="right"), world.users - 1)
        mobile = (rng.random(size) < MOBILE_SHARE).astype(np.int64)
        requests = Requests(user, np.zeros(size, np.int64), mobile, tastes[user])
        pool = draw_pools(alive, weights, size, world.pool_size, rng)
        candidate, blind = retrieve(policy, items, pool, np.zeros(pool.shape, np.float32), rng)
        position = rank(policy, items, candidate, blind, rng).position
        # The page: shown items first, in no order that matters.
        places = np.argsort(position == 0, axis=1, kind="stable")[:, : world.exposed_items]
        item, position = (np.take_along_axis(values, places, axis=1) for values in (candidate, position))
        logit = relevance(world, users, items, requests, item)
        probability = click_probability(world, items, logit, item, position)
        shown = position > 0
        parts.append([ids[shown] for ids in (*fields(world, users, items, requests, item), position)])
        labels.append((rng.random(item.shape, dtype=np.float32) < probability)[shown].astype(np.float64))
    sizes = (
        world.items, world.segments * world.categories, world.users * world.categories,
        world.age_buckets * (len(_PRICE_EDGES) + 1), len(_AGE_EDGES) + 1, world.exposed_items + 1,
    )  # fmt: skip
    *fitted, _position = fit([np.concatenate(ids) for ids in zip(*parts, strict=True)], sizes, np.concatenate(labels))
    return ClickModel(world, users, items, fitted)


def fit(ids: Sequence[Ints], sizes: Sequence[int], label: np.ndarray) -> list[Doubles]:
    """Returns the weights of a logistic regression on one-hot fields, by a normal prior of precision `PRIOR` on each.

    Newton's method field by field, since the second derivatives within one field are diagonal.

    Args:
      ids: [N] of each field.
      sizes: number of ids of each field.
      label: [N] 1 = clicked.
    """
    # One click more and one less than there were keep the rate off 0 and 1.
    rate = (total(label) + 1.0) / (len(label) + 2.0)
    logit = np.full(len(label), log(rate) - log(1.0 - rate))
    weights = [np.zeros(size) for size in sizes]
    for _ in range(_PASSES):
        for field, weight in zip(ids, weights, strict=True):
            probability = sigmoid(logit)
            gradient = np.bincount(field, label - probability, len(weight)) - PRIOR * weight
            curvature = np.bincount(field, probability * (1.0 - probability), len(weight)) + PRIOR
            step = gradient / curvature
            weight += step
            logit += step[field]
    return weights


def sum_of(weights: Sequence[Doubles], ids: Sequence[Ints]) -> Doubles:
    """Returns the sum of the weights that ids have, field by field."""
    first, *rest = zip(weights, ids, strict=True)
    summed: Doubles = first[0][first[1]]
    for weight, field in rest:
        summed = summed + weight[field]
    return summed
