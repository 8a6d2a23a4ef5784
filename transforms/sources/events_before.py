"""What happened strictly before a moment, by key: the events of a user, or of a user and an item."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from transforms.batches import Ragged

SECOND_BITS = 33
MILLISECOND_BITS = 42


@dataclass(frozen=True)
class Events:
    """Times of something, by a key: `keys` are (code of the key << time_bits) | time, in order."""

    codes: np.ndarray
    keys: np.ndarray
    time_bits: int

    @staticmethod
    def of(keys: np.ndarray, times: np.ndarray, time_bits: int = SECOND_BITS) -> "Events":
        """Events in any order; times are at least 0 and below 2 to the power of `time_bits`."""
        codes, code = np.unique(keys, return_inverse=True)
        return Events(codes, np.sort((code.astype(np.int64) << time_bits) | times), time_bits)

    def before(self, keys: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and end, in `self.keys`, of each key's events strictly before a time; [n] each."""
        if not len(self.codes):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        code = np.searchsorted(self.codes, keys)
        known = self.codes[np.minimum(code, len(self.codes) - 1)] == keys
        base = code.astype(np.int64) << self.time_bits
        start = np.searchsorted(self.keys, base)
        stop = np.searchsorted(self.keys, base | np.where(known, times, 0))
        return start, np.where(known, stop, start)

    def last_time(self, stop: np.ndarray) -> np.ndarray:
        """Time of the event before each index; any time where there is none."""
        if not len(self.keys):
            return np.zeros(len(stop), np.int64)
        times: np.ndarray = self.keys[np.maximum(stop - 1, 0)] & ((1 << self.time_bits) - 1)
        return times


def last_events(start: np.ndarray, stop: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the last `length` of each range, one range after the other, and their offsets [n + 1]."""
    kept = np.minimum(stop - start, length)
    offsets = np.concatenate([[0], np.cumsum(kept)])
    return np.repeat(stop - kept - offsets[:-1], kept) + np.arange(offsets[-1]), offsets


class Histories:
    """What some users did, with what.

    Args:
      users, times: int64 [n], in any order.
      columns: what is told of each event, [n] each.
      time_bits: see `Events.of`.
    """

    def __init__(
        self, users: np.ndarray, times: np.ndarray, columns: Mapping[str, np.ndarray], time_bits: int = SECOND_BITS
    ):
        order = np.lexsort((times, users))
        self._columns = {name: values[order] for name, values in columns.items()}
        self._events = Events.of(users, times, time_bits)

    def before(self, users: np.ndarray, times: np.ndarray, length: int) -> dict[str, Ragged]:
        """Each column's lists: the last `length` events strictly before each time, most recent last."""
        index, offsets = last_events(*self._events.before(users, times), length)
        return {name: Ragged(values[index], offsets) for name, values in self._columns.items()}
