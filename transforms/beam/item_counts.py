"""What was known of each item at any time: counts by buckets of time, combined over all workers.

A counter in production lags behind its events, and so does this one: in bucket b only events of
buckets before b are known. That makes the counts causal for any order of events inside a bucket.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property

import apache_beam as beam
import numpy as np

_BUCKET_BITS = 31
"""Keys are (item code << 31) | bucket."""

_MERGE_AFTER = 16

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ItemEvents:
    """Counts of some events by item and bucket of time.

    Args:
      items, buckets: int64 [n].
      shown, clicked: int64 [n], events of each pair.
      newest_buckets, newest_items: int64 [k], the largest item id seen in each bucket.
    """

    items: np.ndarray
    buckets: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    newest_buckets: np.ndarray
    newest_items: np.ndarray

    @staticmethod
    def of(shown: Pairs, clicked: Pairs, seen: Pairs) -> "ItemEvents":
        """One event for each element of arrays `(items, buckets)`: shown, clicked, or seen in another way."""
        is_shown = np.repeat([1, 0], [len(shown[0]), len(clicked[0])])
        items, buckets = (np.concatenate(arrays).astype(np.int64) for arrays in zip(shown, clicked, strict=True))
        newest, at = (np.concatenate(arrays).astype(np.int64) for arrays in zip(shown, seen, strict=True))
        return merged([ItemEvents(items, buckets, is_shown, 1 - is_shown, at, newest)])


def merged(parts: Iterable[ItemEvents]) -> ItemEvents:
    """The sum of several counts: each (item, bucket) once, in order."""
    parts = list(parts)
    one = ItemEvents(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(ItemEvents)))
    order = np.lexsort((one.buckets, one.items))
    items, buckets = one.items[order], one.buckets[order]
    first = np.ones(len(items), bool)
    first[1:] = (items[1:] != items[:-1]) | (buckets[1:] != buckets[:-1])
    starts = np.flatnonzero(first)
    shown, clicked = (_sums(values[order], starts) for values in (one.shown, one.clicked))
    newest_order = np.lexsort((one.newest_items, one.newest_buckets))
    at, newest = one.newest_buckets[newest_order], one.newest_items[newest_order]
    last = np.ones(len(at), bool)
    last[:-1] = at[1:] != at[:-1]
    return ItemEvents(items[starts], buckets[starts], shown, clicked, at[last], newest[last])


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts) if len(starts) else values[:0]


class CombineItemEvents(beam.CombineFn):
    """Sums `ItemEvents` of all workers into one `ItemCounts`."""

    def create_accumulator(self) -> list[ItemEvents]:
        return []

    def add_input(self, accumulator: list[ItemEvents], element: ItemEvents) -> list[ItemEvents]:
        return self._short([*accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[list[ItemEvents]]) -> list[ItemEvents]:
        return self._short([part for accumulator in accumulators for part in accumulator])

    def extract_output(self, accumulator: list[ItemEvents]) -> "ItemCounts":
        none = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        return ItemCounts(merged([ItemEvents.of(none, none, none), *accumulator]))

    @staticmethod
    def _short(parts: list[ItemEvents]) -> list[ItemEvents]:
        return [merged(parts)] if len(parts) > _MERGE_AFTER else parts


class ItemCounts:
    """Answers what was known in a bucket of time, from the events of earlier buckets alone.

    Args:
      events: merged counts.
    """

    def __init__(self, events: ItemEvents):
        self._events = events
        self._codes, code = np.unique(events.items, return_inverse=True)
        self._keys = (code.astype(np.int64) << _BUCKET_BITS) | events.buckets
        self._sums = {
            "shown": np.concatenate([[0], np.cumsum(events.shown)]),
            "clicked": np.concatenate([[0], np.cumsum(events.clicked)]),
        }
        self._newest = np.maximum.accumulate(events.newest_items) if len(events.newest_items) else events.newest_items

    def window(self, items: np.ndarray, buckets: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Times each item was shown and clicked in the `width` buckets before a bucket.

        Args:
          items, buckets: int64 [n].
          width: buckets to look back.

        Returns:
          Shown and clicked, int64 [n].
        """
        code = np.searchsorted(self._codes, items)
        known = code < len(self._codes)
        known[known] = self._codes[code[known]] == items[known]
        base = code.astype(np.int64) << _BUCKET_BITS
        start = np.searchsorted(self._keys, base + np.maximum(buckets - width, 0))
        stop = np.searchsorted(self._keys, base + buckets)
        shown, clicked = (np.where(known, sums[stop] - sums[start], 0) for sums in self._sums.values())
        return shown, clicked

    def pool(self, bucket: int, width: int) -> np.ndarray:
        """Items shown to anybody in the `width` buckets before `bucket`: last shown first, then larger id first."""
        buckets, items = self._shown_by_bucket
        start, stop = np.searchsorted(buckets, [bucket - width, bucket])
        last_first = slice(start, stop)
        shown, position = np.unique(items[last_first][::-1], return_index=True)
        last = buckets[last_first][::-1][position]
        pool: np.ndarray = shown[np.lexsort((-shown, -last))]
        return pool

    def age(self, items: np.ndarray, buckets: np.ndarray) -> np.ndarray:
        """Buckets since an id as large as the item's was first seen anywhere, for ids that grow with time.

        Between two newest ids the time is interpolated. 0 where no id as large has been seen yet; an
        item older than the first bucket has the age of that bucket.

        Args:
          items, buckets: int64 [n].

        Returns:
          float64 [n], in buckets.
        """
        if not len(self._newest):
            return np.zeros(len(items))
        ends = self._events.newest_buckets + 1.0
        after = np.searchsorted(self._newest, items)
        known = (after < len(ends)) & (ends[np.minimum(after, len(ends) - 1)] <= buckets)
        after = np.minimum(after, len(ends) - 1)
        before = np.maximum(after - 1, 0)
        gap = np.maximum(self._newest[after] - self._newest[before], 1)
        share = np.clip((items - self._newest[before]) / gap, 0.0, 1.0)
        born = ends[before] + share * (ends[after] - ends[before])
        return np.where(known, buckets - born, 0.0)

    @cached_property
    def _shown_by_bucket(self) -> Pairs:
        shown = self._events.shown > 0
        order = np.argsort(self._events.buckets[shown], kind="stable")
        return self._events.buckets[shown][order], self._events.items[shown][order]
