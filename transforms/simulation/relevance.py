"""How much a user wants an item, taken alone: the logit before position and neighbours."""

from dataclasses import dataclass

import numpy as np

from transforms.simulation.parameters import World
from transforms.simulation.population import SECONDS_PER_DAY, Floats, Ints, Items, Users
from transforms.simulation.portable_math import dot, exp, sine_of_turns

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
    own = (world.base_logit + users.readiness[requests.user] + _context(world, requests)).astype(np.float32)
    logit: Floats = taste + items.quality[shown] + fresh - price + own[:, None]
    return logit


def item_age_hours(items: Items, requests: Requests, shown: Ints) -> Floats:
    """[B, M] hours since the items' births, at the moment of the request."""
    age = (requests.moment[:, None] - items.birth[shown]) / SECONDS_PER_HOUR
    return np.maximum(age, 0.0).astype(np.float32)


def _context(world: World, requests: Requests) -> np.ndarray:
    day = (world.start_timestamp + requests.moment) / SECONDS_PER_DAY
    wave: np.ndarray = requests.mobile - 0.5 + sine_of_turns(day)
    return world.context_strength * wave
