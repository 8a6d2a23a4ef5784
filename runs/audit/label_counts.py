"""Checks for numbers that were computed from the labels that they should predict: counts and rates of an id."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from runs.audit.findings import Finding
from runs.audit.strength import FEWEST, area, requests_of
from runs.audit.table import ITEM_ID, USER_ID, Table

JUMP_AUC, EQUAL = 0.9, 0.9
DISPERSION = 0.6
_EQUAL_ROWS, _JUMP_ROWS = 200, 100
_GROUPS = 60
"""Ids without which nothing is said of how their label rates differ."""
_KEYS, _DAY, _JUMPS = 8, 86_400, 200_000


def label_counts(table: Table) -> Iterator[Finding]:
    """A finding for each number that contains the labels of an id: of all splits, of train, or of the moment itself.

    Args:
      table: the examples of all splits.
    """
    numbers = [
        (name, values)
        for name, values in table.inputs()
        if values.starts is None and values.tokens is None and name not in (USER_ID, ITEM_ID)
    ]
    parts = [table] if not (table.split == 0).any() or (table.split == 0).all() else [table, table.of("train")]
    ids = [[_Ids(key, part) for key in _keys(part)] for part in parts]
    for name, _ in numbers:
        for part, keys in zip(parts, ids):
            values = part.columns[name].numbers
            finding = next(filter(None, (one.contains_labels(name, values) for one in keys)), None)
            if finding is None and part is parts[-1]:
                finding = next(filter(None, (one.jumps(name, values) for one in keys[:2])), None)
            if finding is not None:
                yield finding
                break


def _keys(table: Table) -> list[str]:
    """Users, items, and further columns of ids."""
    keys = [key for key in (USER_ID, ITEM_ID) if key in table.columns and not table.columns[key].missing.all()]
    others = [
        name
        for name, values in table.inputs()
        if name not in keys
        and values.starts is None
        and values.tokens is not None
        and _GROUPS <= len(values.tokens) <= len(table) / 3
    ]
    return keys + others[:_KEYS]


@dataclass(frozen=True)
class _Groups:
    """Rows with one id, or with one id in one period.

    Args:
      starts: where each group begins in the order of the rows.
      sizes, rates: rows of each group, and their mean label.
      within: squares of the labels' distances from their group's mean, added up.
    """

    starts: np.ndarray
    sizes: np.ndarray
    rates: np.ndarray
    within: float

    def dispersion(self, value: np.ndarray | None) -> tuple[float, float]:
        """How far the groups' label rates are from what a value of the group says, and the error of this figure.

        1 is what chance alone makes of rates that the value says exactly, as in a chi-squared test; a value that says
        less gives more. Far less than 1 is possible only for a value that knows how chance has fallen.

        Args:
          value: of each group; None: only the groups' sizes are known.
        """
        size, rate = self.sizes, self.rates
        base = float(rate @ size / size.sum())
        basis = _basis(size, value)
        root = np.sqrt(size)[:, None]
        fitted = basis @ np.linalg.lstsq(basis * root, rate * root[:, 0], rcond=1e-10)[0]
        judged = (fitted > 0.2 * base) & (fitted < 1 - 0.2 * (1 - base))
        if judged.sum() < _GROUPS:
            return 1.0, 1.0
        variance = np.where(judged, fitted * (1 - fitted), base * (1 - base))
        # Soft labels differ less than clicks do.
        variance *= self.within / max(float(variance @ (size - 1)), 1e-9)
        squares = (size * (rate - fitted) ** 2 / np.maximum(variance, 1e-12))[judged]
        freedom = judged.sum() * (1 - basis.shape[1] / len(size))
        error = np.sqrt((2 + 1 / np.maximum(size * variance, 1e-9)[judged]).mean() / judged.sum())
        return float(squares.sum() / freedom), float(error)


class _Ids:
    """The ids of a column, with the labels of their rows."""

    def __init__(self, key: str, table: Table):
        self.key, self._table = key, table
        self._codes = table.columns[key].codes
        order = np.lexsort((table.time, self._codes))
        self._order = order[self._codes[order] >= 0]
        self._labels = np.clip(np.nan_to_num(table.label), 0.0, 1.0)

    def contains_labels(self, name: str, numbers: np.ndarray) -> Finding | None:
        """A finding if a number that stays the same for an id, its day or its hour was computed from its labels."""
        finding = self._equals(name, numbers)
        if finding is not None:
            return finding
        for groups, what in self._groups:
            values = numbers[self._order]
            if np.isnan(values).any():
                values = np.nan_to_num(values, nan=float(np.nanmedian(values)) if not np.isnan(values).all() else 0.0)
            low, high = np.minimum.reduceat(values, groups.starts), np.maximum.reduceat(values, groups.starts)
            several = groups.sizes > 1
            same = np.abs(high - low) <= 1e-5 + 1e-5 * np.abs(low)
            if same[several].mean() < 0.95 or low.min() == high.max():
                continue
            chosen = _Groups(groups.starts[several], groups.sizes[several], groups.rates[several], groups.within)
            without, _ = chosen.dispersion(None)
            figure, error = chosen.dispersion(low[several])
            usual = min(1.0, without)
            if without >= DISPERSION and figure < DISPERSION * usual and figure + 4 * error < usual:
                message = (
                    f"contains the labels of its {self.key}{what}: label rates differ from what it says by only "
                    f"{figure:.2f} of what chance alone makes of them"
                )
                return Finding("counts_itself", "leak", name, message, figure, DISPERSION)
            return None
        return None

    def jumps(self, name: str, numbers: np.ndarray) -> Finding | None:
        """A finding if a number changes at the very click, and not after it."""
        order = self._order[:_JUMPS]
        order = order[~np.isnan(numbers[order])]
        if len(order) < _JUMP_ROWS:
            return None
        time, code = self._table.time[order], self._codes[order]
        starts = np.flatnonzero((np.diff(code, prepend=-2) != 0) | (np.diff(time, prepend=-1) != 0))
        sizes = np.diff(np.append(starts, len(order)))
        value = np.add.reduceat(numbers[order], starts) / sizes
        rate = np.add.reduceat(self._labels[order], starts) / sizes
        follows = np.flatnonzero(np.diff(code[starts]) == 0) + 1
        change = value[follows] - value[follows - 1]
        if not change.any():
            return None
        for clicked in (rate > 0, rate > self._labels.mean()):
            now, last = clicked[follows], clicked[follows - 1]
            if min(now.sum(), (~now).sum()) < FEWEST:
                continue
            jump = area(now, change)
            if jump < JUMP_AUC:
                continue
            before, alone = area(last, change), area(self._table.positive, np.nan_to_num(numbers))
            if jump - before >= 0.1 and jump - alone >= 0.1:
                message = (
                    f"jumps at the very click of its {self.key}: AUC of the jump {jump:.3f}, and {before:.3f} after a "
                    "click"
                )
                return Finding("counts_itself", "leak", name, message, jump, JUMP_AUC)
        return None

    def _equals(self, name: str, numbers: np.ndarray) -> Finding | None:
        if self._table.share < 1.0 and self.key != USER_ID:
            return None  # The labels of other users of an item were not read.
        codes, y = self._codes + 1, self._labels
        counts, sums = np.bincount(codes)[codes], np.bincount(codes, y)[codes]
        for what, all_rows, others in (
            ("sum", sums, sums - y),
            ("mean", sums / counts, (sums - y) / np.maximum(counts - 1, 1)),
        ):
            differs = (np.abs(all_rows - others) > 1e-6) & (codes > 0)
            if differs.sum() < _EQUAL_ROWS:
                continue
            equal = np.abs(numbers - all_rows) <= 1e-5 + 1e-5 * np.abs(all_rows)
            same = float(equal[differs].mean())
            if same >= EQUAL:
                message = (
                    f"equals the {what} of the labels of its {self.key}, the row's own included, in {same:.1%} of the "
                    "rows"
                )
                return Finding("counts_itself", "leak", name, message, same, EQUAL)
        return None

    @cached_property
    def _groups(self) -> list[tuple[_Groups, str]]:
        """The rows of an id, of its days and of its hours; none where they say nothing."""
        if self.key == USER_ID and _one_click_each(self._table):
            return []
        code, time, label = self._codes[self._order], self._table.time[self._order], self._labels[self._order]
        groups = []
        for length, what in ((np.inf, ""), (_DAY, " on the same day"), (3600, " in the same hour")):
            period = time // length
            starts = np.flatnonzero((np.diff(code, prepend=-2) != 0) | (np.diff(period, prepend=-1) != 0))
            if not len(starts):
                continue
            sizes = np.diff(np.append(starts, len(code))).astype(np.float64)
            rates = np.add.reduceat(label, starts) / sizes
            within = float((np.add.reduceat(label**2, starts) - sizes * rates**2)[sizes > 1].sum())
            if (sizes > 1).sum() >= _GROUPS and within > 0:
                groups.append((_Groups(starts, sizes, rates, within), what))
        return groups


def _basis(size: np.ndarray, value: np.ndarray | None) -> np.ndarray:
    """What a label rate may be a function of: rates, sums, their logarithms, smoothed or not, are within its span."""
    one = 1 / size
    if value is None:
        return np.stack([np.ones(len(size)), one], axis=1)
    distinct, place = np.unique(value, return_inverse=True)
    rank = place.reshape(-1) / max(len(distinct) - 1, 1)
    scaled = (value - value.mean()) / max(float(value.std()), 1e-12)
    grown = np.expm1(np.clip(value, -30.0, 15.0))
    grown = grown / max(float(np.abs(grown).max()), 1e-12)
    columns = [rank, rank**2, rank**3, scaled, scaled**2, grown]
    return np.stack([np.ones(len(size)), one, *columns, *(one * column for column in columns)], axis=1)


def _one_click_each(table: Table) -> bool:
    """True if nearly all requests of several rows have exactly one click: then users differ by their lists alone."""
    requests = requests_of(table)
    sizes, clicks = np.bincount(requests), np.bincount(requests, table.positive)
    several = sizes > 1
    return bool(several.any() and (clicks[several] == 1).mean() >= 0.8 and several.sum() >= 0.05 * len(table) / 2)
