"""What the log remembers: each user's last clicks, and each item's impressions and clicks so far."""

from dataclasses import dataclass

import numpy as np

from transforms.simulation.population import Ints


@dataclass(frozen=True)
class Histories:
    """Histories of B users: `items[offsets[b]:offsets[b + 1]]`, most recent last."""

    items: Ints
    offsets: Ints


class Memory:
    """Histories and counters at the current moment.

    Args:
      users, items: how many there are.
      history_length: clicks that a history keeps.
    """

    def __init__(self, users: int, items: int, history_length: int):
        self._length = history_length
        self._ring = np.zeros((users, history_length), np.int32)
        self._clicked = np.zeros(users, np.int64)
        self.impressions = np.zeros(items, np.int64)
        self.clicks = np.zeros(items, np.int64)

    def histories(self, users: Ints) -> Histories:
        """The last clicks of `users`, [B]."""
        clicked = self._clicked[users]
        lengths = np.minimum(clicked, self._length)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        slot = (np.repeat(clicked - lengths, lengths) + place) % self._length
        return Histories(self._ring[np.repeat(users, lengths), slot].astype(np.int64), offsets)

    def remember_clicks(self, users: Ints, items: Ints) -> None:
        """Adds clicks, given in order of time, to the histories."""
        by_user = np.argsort(users, kind="stable")
        users, items = users[by_user], items[by_user]
        owners, first, counts = np.unique(users, return_index=True, return_counts=True)
        place = np.arange(len(users)) - np.repeat(first, counts)
        # The ring keeps the last clicks only; writing the others too would leave the winner of a slot open.
        kept = place >= np.repeat(counts, counts) - self._length
        users, items, place = users[kept], items[kept], place[kept]
        self._ring[users, (self._clicked[users] + place) % self._length] = items
        self._clicked[owners] += counts

    def count(self, shown: Ints, clicked: Ints) -> None:
        """Counts the items shown and the items clicked."""
        self.impressions += np.bincount(shown, minlength=len(self.impressions))
        self.clicks += np.bincount(clicked, minlength=len(self.clicks))
