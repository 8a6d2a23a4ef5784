"""The last keys seen, to tell what came before."""

import numpy as np


class RecentKeys:
    """Remembers the last so many keys, and which of new ones are among them.

    Args:
      size: keys to remember.
      ring: of an earlier one, `state` of which this goes on; None: nothing was seen.
    """

    def __init__(self, size: int, ring: np.ndarray | None = None):
        self._ring = np.full(size, -1, np.int64) if ring is None else ring[:-1].copy()
        self._next = 0 if ring is None else int(ring[-1])
        self._known = set(self._ring[self._ring >= 0].tolist())

    @property
    def state(self) -> np.ndarray:
        """int64 `[size + 1]`: the keys, and where the next one goes."""
        return np.append(self._ring, self._next)

    def take(self, keys: np.ndarray) -> np.ndarray:
        """Which keys are new, bool `[n]`; of equal ones the first. All are remembered.

        Args:
          keys: int64 `[n]`, not negative.
        """
        new = np.zeros(len(keys), bool)
        for place, key in enumerate(keys.tolist()):
            if key in self._known:
                continue
            new[place] = True
            self._known.discard(int(self._ring[self._next]))
            self._known.add(key)
            self._ring[self._next] = key
            self._next = (self._next + 1) % len(self._ring)
        return new
