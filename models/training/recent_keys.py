"""The last keys of a stream, to recognize duplicates."""

import numpy as np


class RecentKeys:
    """Remembers the last keys, and recognizes them among new ones.

    Args:
      size: number of keys to remember.
      ring: the `state` of an earlier object, to continue from it; None: no keys so far.
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
        """Adds keys; returns True for those that are new, `[n]`, for the first of equal ones.

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
