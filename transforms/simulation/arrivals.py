"""When requests arrive and whose they are."""

from dataclasses import dataclass

import numpy as np

from transforms.simulation.parameters import World
from transforms.simulation.population import SECONDS_PER_DAY, Ints, Users

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
