"""The click model: relevance of an item alone, position on the page, and the other items shown."""

from dataclasses import dataclass

import numpy as np

from simulation.parameters import World
from simulation.population import SECONDS_PER_DAY, Floats, Ints, Items, Users
from transforms.portable_math import dot, exp, log, sigmoid, sine_of_turns, total

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Requests:
    """Who asks, when, and on what, for B requests in order of time.

    Args:
      user: [B] index of the user.
      moment: [B] seconds since the log's first moment.
      mobile: [B] 1 on a mobile device, 0 on a desktop.
      taste: [B, D] the users' tastes.
    """

    user: Ints
    moment: np.ndarray
    mobile: Ints
    taste: Floats

    def __len__(self) -> int:
        return len(self.user)


def relevance(world: World, users: Users, items: Items, requests: Requests, shown: Ints) -> Floats:
    """[B, M] logit of a click on item `shown[b, m]` alone on top of the page.

    base + taste <u, q> + quality + readiness + freshness e^(-age / hours) - sensitivity * price
    + context (mobile - 1/2 + sin of the hour of the day).
    """
    match = dot(np.moveaxis(items.taste[shown], -1, 0), requests.taste.T[:, :, None])
    taste = np.float32(world.taste_strength) * match
    age = item_age_hours(items, requests, shown)
    fresh = np.float32(world.freshness_strength) * exp(-age / np.float32(world.freshness_hours)).astype(np.float32)
    price = users.price_sensitivity[requests.user][:, None] * items.price_score[shown]
    request_logit = (world.base_logit + users.readiness[requests.user] + _context(world, requests)).astype(np.float32)
    logit: Floats = taste + items.quality[shown] + fresh - price + request_logit[:, None]
    return logit


def item_age_hours(items: Items, requests: Requests, shown: Ints) -> Floats:
    """[B, M] hours since the items' births, at the moment of the request."""
    age = (requests.moment[:, None] - items.birth[shown]) / SECONDS_PER_HOUR
    return np.maximum(age, 0.0).astype(np.float32)


def _context(world: World, requests: Requests) -> np.ndarray:
    day = (world.start_timestamp + requests.moment) / SECONDS_PER_DAY
    wave: np.ndarray = requests.mobile - 0.5 + sine_of_turns(day)
    return world.context_strength * wave


def neighbor_effects(items: Items, item: Ints, neighbor: Ints) -> Floats:
    """[B, M, S] effect of `neighbor[b, s]` on `item[b, m]`: complement - max(0, cosine of tastes).

    1 for a complementary neighbor of unrelated taste, -1 for a neighbor of equal taste.
    """
    effects = np.empty((*item.shape, neighbor.shape[1]), np.float32)
    directions = np.ascontiguousarray(np.moveaxis(items.direction[item], -1, 0))
    for place, beside in enumerate(neighbor.T):
        cosine = dot(directions, items.direction[beside].T[:, :, None])
        complement = items.complements[items.category[item], items.category[beside][:, None]]
        effects[:, :, place] = complement.astype(np.float32) - np.maximum(cosine, np.float32(0.0))
    return effects


def click_probability(world: World, items: Items, relevance: Floats, item: Ints, position: Ints) -> Floats:
    """[B, M] true probability of a click on each candidate.

    sigmoid(relevance - position_effect ln(position) + set_effect mean over the neighbors of their effect)

    A shown item has its own position, and the other shown items as neighbors. An item that was not
    shown has the probability of the counterfactual page on which it takes the place of the item at
    the reference position, the middle one: that position, and the other shown items as neighbors. (A
    reference at either end of the page would make exposure itself foretell the probability.)

    Args:
      relevance: [B, M] logits of the items taken alone.
      item: [B, M] item indices.
      position: [B, M] 1 = top of the page, 0 = not shown.
    """
    shown = position > 0
    pages = shown.sum(axis=1)
    reference = (pages + 1) // 2
    place = np.where(shown, position, np.maximum(reference, 1)[:, None])
    logit = relevance - np.float32(world.position_effect) * log(place).astype(np.float32)
    if world.set_effect > 0.0:
        effect = _mean_over_neighbors(items, item, position, reference)
        logit = logit + np.float32(world.set_effect) * effect
    return sigmoid(logit).astype(np.float32)


def _mean_over_neighbors(items: Items, item: Ints, position: Ints, reference: Ints) -> Floats:
    size = int(position.max(initial=0))
    if size < 2:
        return np.zeros(item.shape, np.float32)
    slots = np.argsort(np.where(position > 0, position, np.iinfo(np.int64).max), axis=1, kind="stable")[:, :size]
    slot_position = np.take_along_axis(position, slots, axis=1)
    page = np.take_along_axis(item, slots, axis=1)
    place = np.where(position > 0, position, reference[:, None])
    is_neighbor = (slot_position > 0)[:, None, :] & (slot_position[:, None, :] != place[:, :, None])
    effects = neighbor_effects(items, item, page)
    summed = total(np.where(is_neighbor, effects, np.float32(0.0)))
    return summed / np.maximum(is_neighbor.sum(axis=2), 1).astype(np.float32)
