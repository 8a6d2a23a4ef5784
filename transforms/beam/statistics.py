"""Means, variances, extremes and quantiles of columns, learned in one pass.

Each is the same to the last bit in whatever order the workers of a runner add up: sums are exact, and quantiles are
those of counted values. TFT's own analyzers round on the way, and each of them is a branch of the pipeline.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam

_MOST_BINS = 1 << 18
"""Distinct values of a column that are counted; of more, neighbours are counted together."""
_PENDING = 1 << 20
_LOW_BITS = 27
_MANTISSA_BITS = 53
_UNIT = 1074
"""All numbers are multiples of 2^-1074."""


class Statistic(Protocol):
    """What is learned of the real values of a column, and how."""

    @property
    def size(self) -> int:
        """Number of the results."""

    def new(self) -> Any:
        """Returns the state before any value."""

    def add(self, state: Any, values: np.ndarray) -> Any:
        """Adds the values of a batch."""

    def merge(self, state: Any, other: Any) -> Any:
        """Returns the state after the values of both."""

    def compact(self, state: Any) -> Any:
        """Returns the state in its smallest form."""

    def results(self, state: Any) -> list[float]:
        """Returns what was learned."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance (of the population) of each component, correctly rounded; 0 without values.

    With x² as the sum of two numbers (Dekker, 1971), all sums are sums of numbers, added as integers.

    Args:
      width: W of values `[n, W]`; the results are W means, then W variances.
    """

    width: int = 1

    @property
    def size(self) -> int:
        return 2 * self.width

    def new(self) -> Any:
        return 0, [0] * self.width, [0] * self.width

    def add(self, state: Any, values: np.ndarray) -> Any:
        values = values.reshape(-1, self.width).astype(np.float64)
        squares, rest = _squared(values)
        added = len(values), exact_sums(values), _plus(exact_sums(squares), exact_sums(rest))
        return self.merge(state, added)

    def merge(self, state: Any, other: Any) -> Any:
        return state[0] + other[0], _plus(state[1], other[1]), _plus(state[2], other[2])

    def compact(self, state: Any) -> Any:
        return state

    def results(self, state: Any) -> list[float]:
        count, sums, squares = state
        if not count:
            return [0.0] * self.size
        unit = 1 << _UNIT
        means = [Fraction(one, count * unit) for one in sums]
        variances = [Fraction(two, count * unit) - mean**2 for two, mean in zip(squares, means, strict=True)]
        # What is left of the squares of numbers near the smallest is below zero by rounding alone.
        return [*map(float, means), *(max(0.0, float(one)) for one in variances)]


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest value; 0 and 0 without values."""

    @property
    def size(self) -> int:
        return 2

    def new(self) -> Any:
        return None

    def add(self, state: Any, values: np.ndarray) -> Any:
        return self.merge(state, (float(values.min()), float(values.max())) if values.size else None)

    def merge(self, state: Any, other: Any) -> Any:
        if state is None or other is None:
            return state or other
        return min(state[0], other[0]), max(state[1], other[1])

    def compact(self, state: Any) -> Any:
        return state

    def results(self, state: Any) -> list[float]:
        return list(state or (0.0, 0.0))


@dataclass(frozen=True)
class Quantiles:
    """Boundaries between buckets of equal counts: b_j is the float32 value of rank ⌊j n / B⌋; 0 without values.

    Distinct values are counted. Of more than 2^18 the lowest bit is left out until there are no more, so that a
    boundary is exact for up to so many, and otherwise wrong by one of 2^18 bins at most. How many bits go depends on
    all values, not on their order: some of them never need more than all.

    Args:
      num_buckets: B; the results are B - 1 boundaries.
    """

    num_buckets: int

    @property
    def size(self) -> int:
        return self.num_buckets - 1

    def new(self) -> Any:
        return 0, np.zeros(0, np.uint32), np.zeros(0, np.int64), []

    def add(self, state: Any, values: np.ndarray) -> Any:
        shift, keys, counts, pending = state
        pending = [*pending, _keys(values.reshape(-1))]
        state = shift, keys, counts, pending
        return self.compact(state) if sum(map(len, pending)) > _PENDING else state

    def merge(self, state: Any, other: Any) -> Any:
        (shift, keys, counts, _), (shift2, keys2, counts2, _) = self.compact(state), self.compact(other)
        most = max(shift, shift2)
        keys = np.concatenate([keys >> np.uint32(most - shift), keys2 >> np.uint32(most - shift2)])
        return _bounded(most, keys, np.concatenate([counts, counts2]))

    def compact(self, state: Any) -> Any:
        shift, keys, counts, pending = state
        if not pending:
            return state
        new = np.concatenate(pending) >> np.uint32(shift)
        return _bounded(shift, np.concatenate([keys, new]), np.concatenate([counts, np.ones(len(new), np.int64)]))

    def results(self, state: Any) -> list[float]:
        shift, keys, counts, _ = self.compact(state)
        if not len(keys):
            return [0.0] * self.size
        ends, total = np.cumsum(counts), int(counts.sum())
        ranks = [j * total // self.num_buckets for j in range(1, self.num_buckets)]
        places = np.searchsorted(ends, ranks, side="right")
        boundaries: list[float] = _values(keys[places] << np.uint32(shift)).tolist()
        return boundaries


def learn_statistics(columns: Mapping[str, tuple[Statistic, tf.Tensor]]) -> dict[str, tf.Tensor]:
    """What is learned of columns, each as a float64 vector `[statistic.size]`.

    Args:
      columns: by name the statistic and the real values of a batch, `[n]` or `[n, W]`.
    """
    if not columns:
        return {}
    statistics = [statistic for statistic, _ in columns.values()]
    sizes = [statistic.size for statistic in statistics]
    (results,) = tft.experimental.ptransform_analyzer(
        inputs=[values for _, values in columns.values()],
        ptransform=_Statistics(statistics),
        output_dtypes=[tf.float64],
        output_shapes=[[sum(sizes)]],
        name="statistics",
    )
    return dict(zip(columns, tf.split(results, sizes), strict=True))


class _Statistics(tft_beam.experimental.PTransformAnalyzer):
    def __init__(self, statistics: Sequence[Statistic]):
        super().__init__()
        self._statistics = statistics

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "Learn" >> beam.CombineGlobally(_Learn(self._statistics))


class _Learn(beam.CombineFn):
    def __init__(self, statistics: Sequence[Statistic]):
        self._statistics = statistics

    def create_accumulator(self) -> list[Any]:
        return [statistic.new() for statistic in self._statistics]

    def add_input(self, accumulator: list[Any], batch: Sequence[np.ndarray]) -> list[Any]:
        states = zip(self._statistics, accumulator, batch, strict=True)
        return [statistic.add(state, np.asarray(values)) for statistic, state, values in states]

    def merge_accumulators(self, accumulators: Iterable[list[Any]]) -> list[Any]:
        merged = self.create_accumulator()
        for accumulator in accumulators:
            states = zip(self._statistics, merged, accumulator, strict=True)
            merged = [statistic.merge(state, other) for statistic, state, other in states]
        return merged

    def compact(self, accumulator: list[Any]) -> list[Any]:
        return [statistic.compact(state) for statistic, state in zip(self._statistics, accumulator, strict=True)]

    def extract_output(self, accumulator: list[Any]) -> np.ndarray:
        states = zip(self._statistics, accumulator, strict=True)
        return np.array([one for statistic, state in states for one in statistic.results(state)], np.float64)


def exact_sums(values: np.ndarray) -> list[int]:
    """Returns the sum of each column of finite numbers `[n, W]`, in units of 2^-1074."""
    count, width = values.shape
    if not count:
        return [0] * width
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, _MANTISSA_BITS).astype(np.int64)
    lowest = int(exponents.min())
    places = (exponents - lowest) * width + np.arange(width)
    rows = int(exponents.max()) - lowest + 1

    def of(part: np.ndarray) -> np.ndarray:
        # Whole numbers below 2^27, of which float64 adds 2^26 exactly.
        added = np.bincount(places.reshape(-1), part.reshape(-1).astype(np.float64), rows * width)
        return added.reshape(rows, width).astype(np.int64)

    high, low = of(mantissas >> _LOW_BITS), of(mantissas & ((1 << _LOW_BITS) - 1))
    present = np.flatnonzero((high != 0).any(axis=1) | (low != 0).any(axis=1))
    sums = [0] * width
    for row in present.tolist():
        shift = row + lowest - _MANTISSA_BITS + _UNIT
        for column, (above, below) in enumerate(zip(high[row].tolist(), low[row].tolist(), strict=True)):
            one = (above << _LOW_BITS) + below
            # Below the unit a mantissa ends in zeros.
            sums[column] += one << shift if shift >= 0 else one >> -shift
    return sums


def _squared(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a and b with x² = a + b."""
    split = values * 134217729.0
    high = split - (split - values)
    low = values - high
    squares = values * values
    return squares, ((high * high - squares) + 2.0 * high * low) + low * low


def _plus(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(left, right, strict=True)]


def _keys(values: np.ndarray) -> np.ndarray:
    """Returns whole numbers in the order of float32 values."""
    bits = (values.astype(np.float32) + np.float32(0.0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, ~bits, bits | np.uint32(1 << 31))


def _values(keys: np.ndarray) -> np.ndarray:
    positive = keys >> np.uint32(31) == 1
    return np.where(positive, keys & np.uint32((1 << 31) - 1), ~keys).astype(np.uint32).view(np.float32)


def _bounded(shift: int, keys: np.ndarray, counts: np.ndarray) -> Any:
    keys, places = np.unique(keys, return_inverse=True)
    counts = np.bincount(places, counts, len(keys)).astype(np.int64)
    while len(keys) > _MOST_BINS:
        shift += 1
        keys, places = np.unique(keys >> np.uint32(1), return_inverse=True)
        counts = np.bincount(places, counts, len(keys)).astype(np.int64)
    return shift, keys, counts, []
