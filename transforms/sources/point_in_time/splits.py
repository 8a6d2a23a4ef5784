"""Which split a record is of, and how records are cut into shards that do not overlap in time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.sources.point_in_time.keys import IDENTITY, as_shares, key_hashes

MOST_MOMENTS = 1 << 22
"""Times are counted exactly up to this number of distinct ones; of more, in the narrowest buckets of 2^k that fit."""


@dataclass(frozen=True)
class TimeCounts:
    """How many records there are of each time: the same in whatever order they are counted.

    Attributes:
      bits: times are rounded down to multiples of 2^bits.
      moments: in order, each once: times >> bits.
      counts: records of each moment.
      first, last: exact.
    """

    bits: int
    moments: np.ndarray
    counts: np.ndarray
    first: int
    last: int

    @staticmethod
    def of(times: np.ndarray) -> "TimeCounts | None":
        """Counts of times [n]; None if there are none."""
        if not len(times):
            return None
        moments, counts = np.unique(times, return_counts=True)
        return TimeCounts.joined([TimeCounts(0, moments, counts, int(moments[0]), int(moments[-1]))])

    @staticmethod
    def joined(parts: Iterable["TimeCounts"]) -> "TimeCounts":
        """The counts of all parts together; there is one at least."""
        parts = list(parts)
        # The narrowest buckets of all together are never narrower than those of a part.
        bits = max(part.bits for part in parts)
        moments = np.concatenate([part.moments >> (bits - part.bits) for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        first, last = min(part.first for part in parts), max(part.last for part in parts)
        while True:
            moments, place = np.unique(moments, return_inverse=True)
            counts = np.bincount(place, weights=counts, minlength=len(moments)).astype(np.int64)
            if len(moments) <= MOST_MOMENTS:
                return TimeCounts(bits, moments, counts, first, last)
            moments, bits = moments >> 1, bits + 1

    @property
    def total(self) -> int:
        """Number of records."""
        return int(self.counts.sum())

    def at_share(self, share: float) -> int:
        """The time of the record at `round(share * total)` in order of time; for a share of 1, after the last one."""
        if share >= 1 or not self.total:
            return self.last + 1
        place = min(round(self.total * share), self.total - 1)
        return int(self.moments[np.searchsorted(np.cumsum(self.counts), place, "right")]) << self.bits


_NO_TIMES = TimeCounts(0, np.zeros(0, np.int64), np.zeros(0, np.int64), 0, 0)
Starts: TypeAlias = tuple[int, int]
"""First times of `eval` and of `test`."""


@dataclass(frozen=True)
class ByTime:
    """Splits by time.

    Args:
      starts: from the times of all records to the first times of `eval` and `test`; may raise InputError.
    """

    starts: Callable[[TimeCounts], Starts]


@dataclass(frozen=True)
class ByHash:
    """Splits at random, by seed and key alone.

    Args:
      per: the columns that make the key: `user_id` puts all records of a user into one split, `request_id` all rows of
        a request. Where there is none, rows of the same `_identity` are in one split, or each row is by itself.
      shares: of train, eval and test.
      seed: another one gives another split.
    """

    per: tuple[str, ...]
    shares: tuple[float, float, float]
    seed: int

    def __call__(self, rows: pa.Table) -> np.ndarray:
        otherwise = (IDENTITY,) if IDENTITY in rows.column_names else ("_file", "_row")
        shares = as_shares(key_hashes(rows, self.per, self.seed, otherwise))
        return np.searchsorted(np.cumsum(self.shares)[:2], shares, "right")


@dataclass(frozen=True)
class ByColumn:
    """Splits by a column that holds `train`, `eval` and `test`."""

    column: str

    def __call__(self, rows: pa.Table) -> np.ndarray:
        values = rows[self.column].combine_chunks()
        result = np.full(len(values), len(SPLITS))
        for number, split in enumerate(SPLITS):
            result[np.asarray(pc.equal(values, split).fill_null(False))] = number
        if (result == len(SPLITS)).any():
            received = values[int(np.argmax(result == len(SPLITS)))].as_py()
            raise ValueError(f"column {self.column!r} has {received!r}, expected {', '.join(SPLITS)}")
        return result


SplitRule: TypeAlias = ByTime | ByHash | ByColumn


def time_shares(shares: tuple[float, float, float], where: str, fix: str, shown: Callable[[int], str] = str) -> ByTime:
    """The last records in order of time are `test`, those before them `eval`; those of one moment are never parted."""
    return ByTime(partial(_starts_at_shares, shares=shares, where=where, fix=fix, shown=shown))


def fixed_times(starts: Starts, where: str, fix: str, shown: Callable[[int], str] = str) -> ByTime:
    """`eval` and `test` begin at given times."""
    return ByTime(partial(checked_starts, starts=starts, where=where, fix=fix, shown=shown))


def checked_starts(
    times: TimeCounts, starts: Starts, where: str, fix: str, shown: Callable[[int], str] = str
) -> Starts:
    """First times of `eval` and of `test`, if there are records before, between and after them.

    Args:
      times: of all records.
      starts: first times of `eval` and of `test`.
      where, fix: of the error.
      shown: writes a time in the error.

    Raises:
      InputError: there are none at all, none before `eval`, or none from the start of `test` on.
    """
    if not times.total:
        raise InputError(where, "no rows", "at least one row", "check the files")
    if not times.first < starts[0] < starts[1] <= times.last:
        received = f"times {shown(times.first)} to {shown(times.last)}"
        expected = (
            f"rows before {shown(starts[0])}, where eval begins, and from {shown(starts[1])} on, where test begins"
        )
        raise InputError(where, received, expected, fix)
    return starts


def _starts_at_shares(
    times: TimeCounts, shares: tuple[float, float, float], where: str, fix: str, shown: Callable[[int], str]
) -> Starts:
    starts = times.at_share(shares[0]), times.at_share(1 - shares[2])
    return starts if 0 in shares else checked_starts(times, starts, where, fix, shown)


@dataclass(frozen=True)
class Layout:
    """The shards of a dataset: spans of time of a split that do not overlap.

    Records of one moment too many for a shard are spread over several by hash.

    Attributes:
      starts: first times of `eval` and `test` if splits are by time.
      splits: split number of each shard.
      first: first time of each shard.
      pieces: in how many pieces each shard is cut.
    """

    starts: Starts | None
    splits: np.ndarray
    first: np.ndarray
    pieces: np.ndarray

    @staticmethod
    def of(counts: dict[int, TimeCounts], rule: SplitRule, shard_rows: int) -> "Layout":
        """The layout of a dataset.

        Args:
          counts: of each split; of all records under 0 if splits are by time.
          rule: how records are divided.
          shard_rows: records of a shard, about.

        Raises:
          InputError: a split by time would be empty.
        """
        starts = None
        if isinstance(rule, ByTime):
            starts = rule.starts(counts.get(0, _NO_TIMES))
        spans = [_cut(times, shard_rows, starts if starts is not None else ()) for times in counts.values()]
        parts = zip(counts, spans, strict=True)
        splits = [
            np.searchsorted(starts, first, "right") if starts is not None else np.full(len(first), split)
            for split, (first, _) in parts
        ]
        empty = np.zeros(0, np.int64)
        return Layout(
            starts,
            np.concatenate([empty, *splits]),
            np.concatenate([empty, *(first for first, _ in spans)]),
            np.concatenate([empty, *(pieces for _, pieces in spans)]),
        )

    def pieces_of(self, times: np.ndarray, splits: np.ndarray | None, hashes: np.ndarray) -> np.ndarray:
        """Number of each record's piece, counted over all shards, [n].

        Args:
          times: [n].
          splits: [n]; None: by time.
          hashes: [n] uint64, of the record or its request.
        """
        if splits is None:
            shard = np.searchsorted(self.first, times, "right") - 1
        else:
            shard = np.zeros(len(times), np.int64)
            for number in np.unique(splits):
                mine, rows = np.flatnonzero(self.splits == number), splits == number
                shard[rows] = mine[np.maximum(np.searchsorted(self.first[mine], times[rows], "right") - 1, 0)]
        begin = np.cumsum(self.pieces) - self.pieces
        piece: np.ndarray = begin[shard] + (hashes % self.pieces[shard].astype(np.uint64)).astype(np.int64)
        return piece

    def split_and_name(self, piece: int) -> tuple[int, str]:
        """Split number and shard name of a piece; names sort by time."""
        ends = np.cumsum(self.pieces)
        shard = int(np.searchsorted(ends, piece, "right"))
        return int(self.splits[shard]), f"{shard:06d}-{piece - int(ends[shard] - self.pieces[shard]):04d}"


def _cut(times: TimeCounts, shard_rows: int, borders: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """First time of each shard, and in how many pieces it is cut."""
    before = np.cumsum(times.counts) - times.counts
    # Buckets of several seconds are not cut: their pieces would overlap.
    heavy = (times.counts > 2 * shard_rows) & (times.bits == 0)
    begins = np.diff(before // shard_rows, prepend=-1) > 0
    begins |= heavy | np.concatenate([[False], heavy[:-1]])
    first = times.moments << times.bits
    for border in borders:
        place = int(np.searchsorted(first, border))
        if place < len(begins):
            begins[place] = True
    rows = np.add.reduceat(times.counts, np.flatnonzero(begins))
    pieces = np.where(heavy[begins], -(-rows // shard_rows), 1)
    return first[begins], pieces
