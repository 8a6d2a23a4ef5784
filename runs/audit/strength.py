"""How well a column predicts the label by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from evaluation.pointwise import auc as exact_auc
from evaluation.ranks import RankedGroups
from runs.audit.table import ITEM_ID, REQUEST_ID, USER_ID, Table, Values
from transforms.features import TIMESTAMP

FEWEST = 30
"""Positives and negatives without which nothing is said of a column."""
_LIST_EXAMPLES = 50_000
_FOLDS, _PRIOR, _BINS, _MEMBERS, _STRATA = 5, 5.0, 200, 300, 20
_CYCLES = ((60, "its second in the minute"), (3600, "its second in the hour"), (86400, "its second in the day"))


@dataclass(frozen=True)
class Strength:
    """How well a column predicts the label by itself, and by what.

    Args:
      auc: its AUC.
      by: what of the column predicts.
      example: a value and its label rate.
      rates: label rates of the column's values, learned from other rows, `[n]`; None: there are none.
    """

    auc: float
    by: str
    example: str = ""
    rates: np.ndarray | None = None


def area(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """AUC of a score in the better direction; 0.5 without both classes."""
    value = exact_auc(positive.astype(np.float64), score, weight)
    return 0.5 if value is None else max(value, 1 - value)


def out_of_fold(
    codes: np.ndarray, positive: np.ndarray, folds: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """The smoothed label rate of the rows with the same code in the other folds; missing (-1) is a code, too."""
    codes = codes + 1
    weight = np.ones(len(codes)) if weight is None else weight
    size, rate = int(codes.max(initial=0)) + 1, positive @ weight / weight.sum()
    cell = codes * _FOLDS + folds
    counts = np.bincount(cell, weight, minlength=size * _FOLDS).reshape(size, _FOLDS)
    sums = np.bincount(cell, positive * weight, minlength=size * _FOLDS).reshape(size, _FOLDS)
    rest, clicks = counts.sum(1)[codes] - counts[codes, folds], sums.sum(1)[codes] - sums[codes, folds]
    return np.asarray((clicks + _PRIOR * rate) / (rest + _PRIOR))


def binned(numbers: np.ndarray, bins: int = _BINS, edges_of: np.ndarray | None = None) -> np.ndarray:
    """Codes of quantile bins, of these numbers or of others, -1 where missing; equal numbers share a bin."""
    others = numbers if edges_of is None else edges_of
    others, real = others[~np.isnan(others)], ~np.isnan(numbers)
    edges = np.unique(np.quantile(others, np.linspace(0, 1, bins + 1)[1:])) if len(others) else np.empty(0)
    return np.where(real, np.searchsorted(edges, numbers), -1)


class Labels:
    """The labels of a table, and how well something predicts them.

    What is learned of a column's values is learned from the rows of other requests: a request with exactly one click
    would tell by its other rows which one it is.

    Args:
      table: the examples.
      seed: of the folds.
    """

    def __init__(self, table: Table, seed: int = 1):
        self._table = table
        self.positive, self.weight = table.positive, table.weight
        group = requests_of(table)
        self.folds = np.random.default_rng(seed).integers(0, _FOLDS, int(group.max(initial=0)) + 1)[group]

    @cached_property
    def rate(self) -> float:
        """The label rate."""
        return float(self.positive @ self.weight / self.weight.sum())

    def auc(self, score: np.ndarray, rows: slice = slice(None)) -> float:
        """AUC of a score, in the better direction, of all rows or some."""
        return area(self.positive[rows], score, self.weight[rows])

    def strength(self, values: Values) -> Strength:
        """How well a column predicts the label."""
        if values.starts is not None:
            is_vector = values.tokens is None and values.values.dtype.kind == "f"
            return self._of_vector(values) if is_vector else max(self._of_list(values), key=lambda one: one.auc)
        if values.tokens is not None:
            return self._by_codes(values, values.codes, "the label rate of its values")
        numbers = values.numbers
        middle = np.nanmedian(numbers) if (~values.missing).any() else 0.0
        by_value = self.auc(np.nan_to_num(np.where(values.missing, middle, numbers)))
        by_bins = self._by_codes(values, binned(numbers), "the label rate of its values")
        return by_bins if by_bins.auc > by_value else Strength(by_value, "its value", by_bins.example, by_bins.rates)

    def of_time(self) -> Strength:
        """How well the time does: negatives that were drawn elsewhere often have times of another pattern."""
        time = self._table.time
        strengths = [Strength(self.auc(time), "its order")]
        strengths += [Strength(self.of_codes(time % length)[0], by) for length, by in _CYCLES]
        return max(strengths, key=lambda one: one.auc)

    def of_codes(self, codes: np.ndarray, rows: slice = slice(None)) -> tuple[float, np.ndarray]:
        """AUC of the label rates of codes, each learned from other rows, and these rates.

        A value below 0.5 would only say that rows with a code are unlike each other, as where each user has one click.
        """
        rates = out_of_fold(codes, self.positive[rows], self.folds[rows], self.weight[rows])
        value = exact_auc(self.positive[rows].astype(np.float64), rates, self.weight[rows])
        return (0.5 if value is None else max(value, 0.5)), rates

    def within(self, score: np.ndarray, others: list[np.ndarray]) -> float:
        """AUC of a score, in the better direction, among rows of which all other columns say the same.

        Args:
          score: of each row.
          others: label rates of the values of each other column, `[n]`.
        """
        together = np.zeros(len(score))
        for rates in others:
            together += np.log(rates / (1 - rates))
        strata = binned(together, _STRATA)
        positive, negative = self.positive * self.weight, ~self.positive * self.weight
        areas = np.nan_to_num(RankedGroups(strata, score).auc(positive, negative))
        pairs = np.bincount(strata, positive) * np.bincount(strata, negative)
        value = float(areas @ pairs / pairs.sum()) if pairs.any() else 0.5
        return max(value, 1 - value)

    def _by_codes(self, values: Values, codes: np.ndarray, by: str) -> Strength:
        rows = slice(len(codes))
        strength, rates = self.of_codes(codes, rows)
        counts = np.bincount(codes + 1)
        sums = np.bincount(codes + 1, self.positive[rows] * self.weight[rows])
        means = sums / np.maximum(np.bincount(codes + 1, self.weight[rows]), 1e-9)
        best = int(np.argmax(np.where(counts >= min(20, counts.max()), means, -1)))
        shown = int(np.argmax(codes + 1 == best))
        text = values.text(shown) if values.starts is None else ""
        example = f"{text}: {means[best]:.2f} of {counts[best]:,} rows positive, {self.rate:.2f} of all" if text else ""
        return Strength(strength, by, example, rates)

    def _of_list(self, values: Values) -> Iterator[Strength]:
        lengths = np.asarray(values.lengths)
        by_bins, rates = self.of_codes(binned(lengths.astype(float)))
        yield Strength(max(self.auc(lengths), by_bins), "its length", "", rates)
        some = values.take(np.arange(min(len(lengths), _LIST_EXAMPLES)))
        y = self.positive[:_LIST_EXAMPLES]
        example, place = some.pairs()
        codes = some.codes[place]
        last = np.full(len(y), -1, np.int64)
        last[example] = codes
        by_last = self._by_codes(some, last, "the label rate of its last value")
        yield by_last if len(y) == len(lengths) else Strength(by_last.auc, by_last.by, by_last.example)
        if len(codes):
            pair = np.stack([codes, example])
            pair = np.unique(pair, axis=1) if len(codes) < 2_000_000 else pair
            counts, clicks = np.bincount(pair[0]), np.bincount(pair[0], y[pair[1]])
            frequent = np.argsort(-counts, kind="stable")[:_MEMBERS]
            hits = clicks[frequent] / max(y.sum(), 1) - (counts - clicks)[frequent] / max((~y).sum(), 1)
            best = int(np.argmax(np.abs(hits)))
            shown = some.text(int(place[np.argmax(codes == frequent[best])]))
            yield Strength(0.5 + abs(float(hits[best])) / 2, f"holding {shown}")

    def _of_vector(self, values: Values) -> Strength:
        width = int(np.asarray(values.lengths).max(initial=0))
        full = np.flatnonzero(np.asarray(values.lengths) == width)[: _LIST_EXAMPLES // 2]
        matrix = values.values[np.asarray(values.starts)[full][:, None] + np.arange(width)].astype(np.float64)
        matrix, y, weight = np.nan_to_num(matrix), self.positive[full], self.weight[full]
        if not len(full) or min(y.sum(), (~y).sum()) < FEWEST:
            return Strength(0.5, "")
        component = [area(y, matrix[:, index], weight) for index in range(width)]
        half = np.arange(len(y)) % 2 == 0
        means = matrix[half & y].mean(0) - matrix[half & ~y].mean(0)
        direction = matrix[~half] @ (means / (matrix[half].var(0) + 1e-6))
        best = int(np.argmax(component))
        along = area(y[~half], direction, weight[~half])
        if along > component[best]:
            return Strength(along, "one direction")
        return Strength(component[best], f"component {best}")


def requests_of(table: Table) -> np.ndarray:
    """A code for each request: of rows that have no common request, one for each user and time."""
    requests = table.columns.get(REQUEST_ID)
    if requests is not None:
        codes = np.unique(requests.codes, return_inverse=True)[1].reshape(-1)
        if not requests.missing.any() and codes.max(initial=0) + 1 < len(table):
            return np.asarray(codes)
    users = table.columns.get(USER_ID)
    if users is None or users.missing.all() or TIMESTAMP not in table.columns or not np.ptp(table.time):
        return np.arange(len(table))
    moments = np.unique(table.time, return_inverse=True)[1].reshape(-1)
    both = users.codes.astype(np.int64) * (len(table) + 1) + moments
    return np.asarray(np.unique(both, return_inverse=True)[1].reshape(-1))


def is_constant_per(codes: np.ndarray, values: np.ndarray) -> bool:
    """True if nearly all groups of equal codes have one value only; groups of one row say nothing."""
    order = np.lexsort((values, codes))
    codes, values = codes[order], values[order]
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1)) if len(codes) else np.empty(0, np.int64)
    ends = np.append(starts[1:], len(codes)) - 1
    several = (ends > starts) & (codes[starts] >= 0)
    low, high = values[starts[several]], values[ends[several]]
    same = np.abs(high - low) <= 1e-5 + 1e-5 * np.abs(low)
    return bool(several.sum() >= 20 and same.mean() >= 0.95)


def belongs_to_id(values: Values, table: Table) -> bool:
    """True if a scalar column says the same in all rows of a user, or of an item."""
    if values.starts is not None:
        return False
    content = values.numbers if values.tokens is None else values.codes.astype(np.float64)
    content = np.nan_to_num(content, nan=-1e30)
    keys = [table.columns[key] for key in (USER_ID, ITEM_ID) if key in table.columns]
    return any(is_constant_per(ids.codes, content) for ids in keys if not ids.missing.all())
