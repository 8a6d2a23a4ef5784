"""What was known of articles and users when a list was shown: the features of EB-NeRD records."""

import numpy as np

from transforms.beam.item_counts import ItemCounts
from transforms.sources.ebnerd.files import Impressions, Reads
from transforms.sources.ebnerd.schema import WINDOWS_HOURS, EbnerdOptions
from transforms.sources.point_in_time.events_before import Events, last_events

_OLDEST_HOURS = 336.0


class ArticleFeatures:
    """Features of articles in a bucket of time, from events of earlier buckets.

    Args:
      counts: of all users.
      options: windows, bucket length, prior.
    """

    def __init__(self, counts: ItemCounts, options: EbnerdOptions):
        self._counts, self._options = counts, options
        self._pools: dict[int, np.ndarray] = {}
        self._sorted: dict[int, dict[str, np.ndarray]] = {}

    def pool(self, bucket: int) -> np.ndarray:
        """Articles shown to anybody in the last `pool_hours`, the most recently shown first."""
        if bucket not in self._pools:
            width = self._options.buckets(self._options.pool_hours)
            self._pools[bucket] = self._counts.pool(bucket, width)
        return self._pools[bucket]

    def at(self, items: np.ndarray, buckets: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of articles in buckets of time: age, counts, click rates, ranks in the pool; each [n]."""
        low = int(buckets.min()) if len(buckets) else 0
        pairs, inverse = np.unique(((buckets - low) << 31) | items, return_inverse=True)
        unique_items, unique_buckets = pairs & ((1 << 31) - 1), (pairs >> 31) + low
        columns = self._absolute(unique_items, unique_buckets)
        columns |= self._ranks(columns, unique_buckets)
        return {name: values[inverse] for name, values in columns.items()}

    def _absolute(self, items: np.ndarray, buckets: np.ndarray) -> dict[str, np.ndarray]:
        options = self._options
        age = self._counts.age(items, buckets) * options.bucket_seconds / 3600
        columns = {"article_age_hours": np.minimum(age, _OLDEST_HOURS).astype(np.float32)}
        for hours in WINDOWS_HOURS:
            shown, clicked = self._counts.window(items, buckets, options.buckets(hours))
            columns[f"shown_{hours}h"], columns[f"clicks_{hours}h"] = shown, clicked
            weight = options.ctr_prior_weight
            # A click is counted when its page view ends, so a window can hold more clicks than lists.
            rate = (clicked + weight * options.ctr_prior) / (shown + weight)
            columns[f"ctr_{hours}h"] = np.minimum(rate, 1.0).astype(np.float32)
        return columns

    def _ranks(self, columns: dict[str, np.ndarray], buckets: np.ndarray) -> dict[str, np.ndarray]:
        """Share of the pool with a smaller value, ties half: 0 to 1; 0.5 where the pool is empty."""
        ranks = {name: np.full(len(buckets), 0.5, np.float32) for name in _RANKED}
        for start, stop in _runs(buckets):
            for name, column in _RANKED.items():
                pool = self._sorted_pool(int(buckets[start]))[name]
                if len(pool):
                    values = columns[column][start:stop]
                    below = np.searchsorted(pool, values, "left") + np.searchsorted(pool, values, "right")
                    ranks[name][start:stop] = below / (2 * len(pool))
        return ranks

    def _sorted_pool(self, bucket: int) -> dict[str, np.ndarray]:
        if bucket not in self._sorted:
            pool = self.pool(bucket)
            columns = self._absolute(pool, np.full(len(pool), bucket))
            self._sorted[bucket] = {name: np.sort(columns[column]) for name, column in _RANKED.items()}
        return self._sorted[bucket]


_RANKED = {"pool_rank_clicks": "clicks_6h", "pool_rank_ctr": "ctr_6h", "pool_rank_age": "article_age_hours"}


class UserFeatures:
    """Features of some users, from their reads and impressions strictly before a second.

    Args:
      impressions: all of these users.
      history: their reads before.
    """

    def __init__(self, impressions: Impressions, history: Reads):
        owner = impressions.owner
        reads = Reads.joined([history, _clicks(impressions, owner)])
        self._read_items = reads.items
        self._reads = Events.of(reads.users, reads.times)
        self._users = np.unique(np.concatenate([reads.users, impressions.users]))
        self._pair_reads = Events.of(self._pairs(reads.users, reads.items), reads.times)
        shown_pairs = self._pairs(impressions.users[owner], impressions.items)
        self._pair_shown = Events.of(shown_pairs, impressions.times[owner])

    def history(self, users: np.ndarray, times: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Articles read before, most recent last.

        Args:
          users, times: int64 [n].
          length: articles at most, the most recent ones.

        Returns:
          Article ids of all lists, their offsets [n + 1], and the number of all reads before, [n].
        """
        start, stop = self._reads.before(users, times)
        index, offsets = last_events(start, stop, length)
        return self._read_items[index], offsets, stop - start

    def at(self, users: np.ndarray, times: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of a user and an article at a time: shown and read so far; each [n]."""
        pairs = self._pairs(users, items)
        shown_start, shown_stop = self._pair_shown.before(pairs, times)
        read_start, read_stop = self._pair_reads.before(pairs, times)
        hours = (times - self._pair_shown.time_of_last(shown_stop)) / 3600
        return {
            "times_shown_to_user": shown_stop - shown_start,
            "times_read_by_user": read_stop - read_start,
            "hours_since_shown_to_user": np.where(shown_stop > shown_start, hours, np.nan).astype(np.float32),
        }

    def _pairs(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        pairs: np.ndarray = (np.searchsorted(self._users, users).astype(np.int64) << 31) | items
        return pairs


def _clicks(impressions: Impressions, owner: np.ndarray) -> Reads:
    by = owner[impressions.clicked]
    return Reads(impressions.users[by], impressions.click_times[by], impressions.items[impressions.clicked])


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of equal values."""
    borders = np.flatnonzero(np.diff(values)) + 1
    ends = [0, *borders.tolist(), len(values)]
    return [(start, stop) for start, stop in zip(ends, ends[1:], strict=False) if stop > start]
