"""The truth behind a simulated log: the click probability of any item for any of its requests, shown or not."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from simulation.cascade_log import NAME, item_names, parts_of_log, user_names
from simulation.cascade_world import CascadeWorld
from simulation.clicks import Requests, relevance
from simulation.parameters import World
from simulation.population import Floats, Ints
from transforms.portable_math import sigmoid
from transforms.portable_random import SIMULATOR_VERSION

_PAIRS_AT_ONCE = 1 << 21


class SimulatedTruth:
    """The true click probability of each item alone on top of the page: sigmoid(`relevance`).

    The world is created again and lives through all requests, without pages or clicks, so that users have the tastes
    that they had when they asked.

    Args:
      world, requests, seed: as in `simulate`.
    """

    def __init__(self, world: World, requests: int, seed: int):
        lived = CascadeWorld(world, requests, seed)
        self._world, self._users, self._items, self._arrivals = world, lived.users, lived.items, lived.arrivals
        self._tastes = np.empty((requests, world.taste_dim), np.float32)
        for _, start, stop in parts_of_log(requests, world.block_requests):
            self._tastes[start:stop] = lived.arrived(start, stop).taste
        self._user_names, self._item_names = user_names(world), item_names(world)

    @classmethod
    def of(cls, origin: Mapping[str, Any]) -> "SimulatedTruth | None":
        """Returns the truth of a dataset by its `origin`; None if it is not of this simulator."""
        needed = {"world", "requests", "seed"}
        if origin.get("source") != NAME or origin.get("simulator_version") != SIMULATOR_VERSION:
            return None
        return (
            cls(World.model_validate(origin["world"]), origin["requests"], origin["seed"])
            if needed <= set(origin)
            else None
        )

    def has(self, request_ids: np.ndarray, user_ids: np.ndarray) -> bool:
        """Returns True if these are requests of the log, and of these users, `[R]` each."""
        numbers = _numbers(request_ids)
        if not ((numbers >= 0) & (numbers < len(self._tastes))).all():
            return False
        return bool((self._user_names[self._arrivals.user[numbers]].astype(object) == user_ids).all())

    def probabilities(self, request_ids: np.ndarray, item_ids: np.ndarray) -> Floats:
        """Returns the click probability of items in requests.

        Args:
          request_ids: of requests of the log, `[R]`.
          item_ids: of items of the world, `[N]`.

        Returns:
          `[R, N]`.

        Raises:
          ValueError: an item is not of the world.
        """
        places = np.searchsorted(self._item_names, item_ids.astype("S"))
        known = self._item_names[np.minimum(places, len(self._item_names) - 1)] == item_ids.astype("S")
        if not known.all():
            raise ValueError(f"the world has no item {item_ids[~known][0]!r}; expected items of the log")
        numbers = _numbers(request_ids)
        step = max(1, _PAIRS_AT_ONCE // max(len(places), 1))
        parts = [self._of_block(numbers[start : start + step], places) for start in range(0, len(numbers), step)]
        return np.concatenate([np.empty((0, len(places)), np.float32), *parts])

    def _of_block(self, numbers: Ints, places: Ints) -> Floats:
        arrivals = self._arrivals
        requests = Requests(
            arrivals.user[numbers], arrivals.moment[numbers], arrivals.mobile[numbers], self._tastes[numbers]
        )
        shown = np.broadcast_to(places, (len(numbers), len(places)))
        return np.asarray(sigmoid(relevance(self._world, self._users, self._items, requests, shown)), np.float32)


def _numbers(request_ids: np.ndarray) -> Ints:
    """Returns the numbers of requests by their ids; -1 for one that no simulated request has."""
    digits = (one[1:] if one[:1] == b"r" and one[1:].isdigit() else b"-1" for one in request_ids.tolist())
    return np.array([int(one) for one in digits], np.int64)
