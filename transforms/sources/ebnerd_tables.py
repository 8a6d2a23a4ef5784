"""EB-NeRD's records as arrays: lists shown with their clicks, and articles read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

Table = TypeVar("Table", "Impressions", "Reads")


@dataclass(frozen=True)
class Impressions:
    """Lists shown: one element of each array for a list, but `items` and `clicked` by `offsets`.

    Args:
      ids, times, users: int64 [n]; times in seconds.
      click_times: int64 [n], when a click on the list would have happened.
      devices, on_page, subscriber, sso: int64 [n].
      offsets: int64 [n + 1], the list of i is `items[offsets[i]:offsets[i + 1]]`.
      items: int64, articles shown, each once in a list.
      clicked: bool, as `items`.
    """

    ids: np.ndarray
    times: np.ndarray
    users: np.ndarray
    click_times: np.ndarray
    devices: np.ndarray
    on_page: np.ndarray
    subscriber: np.ndarray
    sso: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    clicked: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def owner(self) -> np.ndarray:
        """The list of each element of `items`, int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, index: np.ndarray) -> "Impressions":
        """The lists at `index`, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.repeat(self.offsets[index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        scalars = {name: getattr(self, name)[index] for name in _SCALARS}
        return Impressions(**scalars, offsets=offsets, items=self.items[flat], clicked=self.clicked[flat])

    @staticmethod
    def joined(parts: Iterable["Impressions"]) -> "Impressions":
        """All lists in order of time, then id."""
        parts = list(parts)
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*_SCALARS, *_LISTS)}
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        whole = Impressions(**joined, offsets=offsets)
        return whole.take(np.lexsort((whole.ids, whole.times)))


_LISTS = ("items", "clicked")
_SCALARS = tuple(field.name for field in fields(Impressions) if field.name not in ("offsets", *_LISTS))


@dataclass(frozen=True)
class Reads:
    """Articles read by users: int64 arrays [n]; times in seconds."""

    users: np.ndarray
    times: np.ndarray
    items: np.ndarray

    def take(self, index: np.ndarray) -> "Reads":
        """The reads at `index`."""
        return Reads(self.users[index], self.times[index], self.items[index])

    @staticmethod
    def joined(parts: Iterable["Reads"]) -> "Reads":
        """All reads, by user, time and article."""
        none = np.zeros(0, np.int64)
        whole = [Reads(none, none, none), *parts]
        joined = Reads(*(np.concatenate([getattr(part, field.name) for part in whole]) for field in fields(Reads)))
        return joined.take(np.lexsort((joined.items, joined.times, joined.users)))


def parts_of(table: Table, users: np.ndarray, partitions: int) -> Iterator[tuple[str, Table]]:
    """A table by partition of its users, `00000` and so on; `users` is int64 by element."""
    part = users % partitions
    for number in np.unique(part):
        yield f"{number:05d}", table.take(np.flatnonzero(part == number))
