"""What happened strictly before a moment, by key."""

from dataclasses import dataclass

import numpy as np

_BITS = 62


@dataclass(frozen=True)
class Events:
    """Times of events by key, to be searched.

    Attributes:
      codes: the keys, each once, in order.
      moments: in order, (place of the key in `codes` << bits) | (time - first), or the time's rank if it is too large.
      bits: see `moments`.
      first: the earliest time.
      times: all times, each once, if `moments` has ranks.
    """

    codes: np.ndarray
    moments: np.ndarray
    bits: int
    first: int
    times: np.ndarray | None = None

    @staticmethod
    def of(keys: np.ndarray, times: np.ndarray) -> "Events":
        """Events in any order; keys and times are integers [n]."""
        codes, code = np.unique(keys, return_inverse=True)
        first = int(times.min()) if len(times) else 0
        last = int(times.max()) if len(times) else 0
        bits, distinct = (last - first + 1).bit_length(), None
        if bits + len(codes).bit_length() > _BITS:
            distinct, offset = np.unique(times, return_inverse=True)
            bits = len(distinct).bit_length()
        else:
            offset = times.astype(np.int64) - first
        return Events(codes, np.sort((code.astype(np.int64) << bits) | offset), bits, first, distinct)

    def before(self, keys: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and end, among the events in order of key and time, of those of each key strictly before a time.

        Args:
          keys, times: integers [n].
        """
        if not len(self.codes):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        code = np.searchsorted(self.codes, keys)
        known = self.codes[np.minimum(code, len(self.codes) - 1)] == keys
        base = code.astype(np.int64) << self.bits
        start = np.searchsorted(self.moments, base)
        stop = np.searchsorted(self.moments, base | np.where(known, self._offsets(times), 0))
        return start, np.where(known, stop, start)

    def time_of_last(self, stop: np.ndarray) -> np.ndarray:
        """Time of the event before each index; any time where there is none."""
        if not len(self.moments):
            return np.zeros(len(stop), np.int64)
        offsets = self.moments[np.maximum(stop - 1, 0)] & ((1 << self.bits) - 1)
        times: np.ndarray = self.first + offsets if self.times is None else self.times[offsets]
        return times

    def _offsets(self, times: np.ndarray) -> np.ndarray:
        if self.times is not None:
            return np.searchsorted(self.times, times)
        # A time before all events, or after them, need not fit.
        offsets: np.ndarray = (
            np.clip(times.astype(np.int64), self.first, self.first + (1 << self.bits) - 1) - self.first
        )
        return offsets


def last_events(start: np.ndarray, stop: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the last `length` of each range, one range after the other, and their offsets [n + 1]."""
    kept = np.minimum(stop - start, length)
    return range_indices(stop - kept, stop)


def range_indices(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of each range, one range after the other, and their offsets [n + 1]."""
    lengths = stop - start
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(start - offsets[:-1], lengths) + np.arange(offsets[-1]), offsets
