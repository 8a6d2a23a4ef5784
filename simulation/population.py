"""Users and items of a world: what they are, their tastes over time, and when requests arrive."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.parameters import World
from transforms.portable_math import dot, exp, power, total
from transforms.portable_random import exponential, normal

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Users:
    """Fixed traits of all users, by user index.

    Args:
      segment, age_bucket: [users] visible groups.
      activity: [users] probability that a request is this user's; adds up to 1.
      readiness: [users] logit of the user's readiness to click.
      price_sensitivity: [users] loss in logits per standard deviation of log price.
      segment_taste: [users, D] the part of the taste that the segment gives, which never drifts.
    """

    segment: Ints
    age_bucket: Ints
    activity: NDArray[np.float64]
    readiness: Floats
    price_sensitivity: Floats
    segment_taste: Floats


@dataclass(frozen=True)
class Items:
    """Fixed traits of all items, by item index.

    Args:
      category: [items].
      taste: [items, D], scaled so that its product with a user's taste has variance 1.
      direction: [items, D] the same vectors with length 1.
      quality: [items] logit of the appeal to everybody.
      price: [items] in currency units.
      price_score: [items] standardized log price.
      birth: [items] seconds since the log's first moment; negative before it.
      popularity: [items] in (0, 1], the most popular has 1; independent of relevance.
      popularity_score: [items] 1 for the most popular, -1 for the least, linear in the rank between.
      complements: [categories, categories] True where the two complement each other.
    """

    category: Ints
    taste: Floats
    direction: Floats
    quality: Floats
    price: Floats
    price_score: Floats
    birth: NDArray[np.float64]
    popularity: NDArray[np.float64]
    popularity_score: Floats
    complements: NDArray[np.bool_]


def create_users(world: World, rng: np.random.Generator) -> Users:
    """Draws the users."""
    segment = rng.integers(0, world.segments, world.users)
    centers = normal(rng, (world.segments, world.taste_dim))
    age_bucket = rng.integers(0, world.age_buckets, world.users)
    oldest = max(world.age_buckets - 1, 1)
    activity = power(rng.permutation(world.users) + 1.0, -world.user_exponent)
    return Users(
        segment=segment,
        age_bucket=age_bucket,
        activity=activity / total(activity),
        readiness=np.float32(world.user_strength) * normal(rng, world.users),
        price_sensitivity=(world.price_strength * (1.0 - age_bucket / oldest)).astype(np.float32),
        segment_taste=np.float32(np.sqrt(world.visible_share)) * centers[segment],
    )


def create_items(world: World, rng: np.random.Generator) -> Items:
    """Draws the items; at least one exists when the log begins."""
    category = rng.integers(0, world.categories, world.items)
    centers = normal(rng, (world.categories, world.taste_dim))
    individual = normal(rng, (world.items, world.taste_dim))
    taste = np.float32(np.sqrt(world.visible_share)) * centers[category]
    taste += np.float32(np.sqrt(1.0 - world.visible_share)) * individual
    log_price = normal(rng, world.items)
    rank = rng.permutation(world.items)
    return Items(
        category=category,
        taste=taste / np.float32(np.sqrt(world.taste_dim)),
        direction=taste / np.maximum(np.sqrt(dot(taste.T, taste.T)), np.float32(1e-6))[:, None],
        quality=np.float32(world.quality_strength) * normal(rng, world.items),
        price=exp(np.float32(3.0) + np.float32(0.8) * log_price).astype(np.float32),
        price_score=log_price,
        birth=_births(world, rng),
        popularity=power(rank + 1.0, -world.item_exponent),
        popularity_score=(1.0 - 2.0 * rank / (world.items - 1)).astype(np.float32),
        complements=_complements(world.categories, rng),
    )


def _births(world: World, rng: np.random.Generator) -> NDArray[np.float64]:
    born = int(world.items * world.born_share)
    before = -exponential(rng, world.mean_age_days, world.items - born)
    births: NDArray[np.float64] = np.concatenate([before, rng.random(born) * world.days]) * SECONDS_PER_DAY
    rng.shuffle(births)
    return births


def _complements(categories: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Each category complements its two neighbors on a random ring; never itself."""
    table = np.zeros((categories, categories), np.bool_)
    ring = rng.permutation(categories)
    table[ring, np.roll(ring, 1)] = True
    table |= table.T
    np.fill_diagonal(table, False)
    return table


class Tastes:
    """The users' taste vectors at the current moment: u = segment part + individual part.

    The individual part is a stationary first-order process: after t days it is
    `sqrt(1 - s) individual + sqrt(s) new` with `s = 1 - (1 - drift)^t`, so its variance never changes.
    """

    def __init__(self, world: World, users: Users, rng: np.random.Generator):
        self._world, self._users, self._rng = world, users, rng
        self._own = self._fresh()
        self._moment = 0.0
        self._sum()

    def advance(self, moment: float) -> None:
        """Lets tastes drift until `moment`, seconds since the log's first."""
        days = max(moment - self._moment, 0.0) / SECONDS_PER_DAY
        self._moment = max(moment, self._moment)
        share = 1.0 - float(power(1.0 - self._world.drift, days))
        if share > 0.0:
            self._own = np.float32(np.sqrt(1.0 - share)) * self._own + np.float32(np.sqrt(share)) * self._fresh()
            self._sum()

    def of(self, users: np.ndarray) -> Floats:
        """[n, D] taste vectors of `users`."""
        return self._current[users]

    def _sum(self) -> None:
        self._current: Floats = self._users.segment_taste + self._own

    def _fresh(self) -> Floats:
        scale = np.float32(np.sqrt(1.0 - self._world.visible_share))
        return scale * normal(self._rng, (self._world.users, self._world.taste_dim))


MOBILE_SHARE = 0.7


@dataclass(frozen=True)
class Arrivals:
    """All requests of a log in order of time, each [requests].

    Args:
      moment: whole seconds since the log's first moment, never falling.
      user: index of the user.
      mobile: 1 on a mobile device, 0 on a desktop.
    """

    moment: Ints
    user: Ints
    mobile: Ints


def create_arrivals(world: World, users: Users, requests: int, rng: np.random.Generator) -> Arrivals:
    """Draws arrivals: uniform over the log's days, users by their activity."""
    moment = np.sort(rng.random(requests)) * (world.days * SECONDS_PER_DAY)
    ends = np.cumsum(users.activity)
    user = np.minimum(np.searchsorted(ends, rng.random(requests), side="right"), world.users - 1)
    mobile = rng.random(requests) < MOBILE_SHARE
    return Arrivals(moment.astype(np.int64), user.astype(np.int64), mobile.astype(np.int64))
