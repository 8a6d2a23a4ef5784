"""Latent tastes of users, drifting over time around what their segment shares."""

import numpy as np

from transforms.simulation.parameters import World
from transforms.simulation.population import SECONDS_PER_DAY, Floats, Users
from transforms.simulation.portable_math import power
from transforms.simulation.portable_random import normal


class Tastes:
    """The users' taste vectors at the current moment: u = segment part + own part.

    The own part is a stationary first-order process: after t days it is
    `sqrt(1 - s) own + sqrt(s) new` with `s = 1 - (1 - drift)^t`, so its variance never changes.
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
