"""Checks for columns that know the label: each looks at the train split and gives findings of grade leak."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.pointwise import auc as exact_auc
from runs.audit.findings import Finding
from runs.audit.table import ITEM_ID, USER_ID, Table, Values
from transforms.features import TIMESTAMP

LEAK_AUC, SUSPICIOUS_AUC = 0.95, 0.85
PURE, PURE_ROWS = 0.98, 50
JUMP_AUC, DERIVED_AUC = 0.9, 0.9
HOLDS_GAP = 0.8
_EXAMPLES, _LIST_EXAMPLES = 200_000, 50_000
_FEWEST = 30
"""Positives and negatives without which nothing is said of a column."""
_FOLDS, _PRIOR, _BINS, _MEMBERS = 5, 5.0, 200, 300


def leaks(train: Table, seed: int = 1) -> Iterator[Finding]:
    """The findings of all checks of this file.

    Args:
      train: the examples of the train split.
      seed: of the examples and folds that are drawn.
    """
    positives = int(train.positive.sum())
    if min(positives, len(train) - positives) < _FEWEST:
        return
    rng = np.random.default_rng(seed)
    drawn = train
    if len(train) > _EXAMPLES:
        drawn = train.where(np.sort(rng.choice(len(train), _EXAMPLES, replace=False)))
    folds = rng.integers(0, _FOLDS, len(drawn))
    telling = {name: _strength(name, values, drawn, folds) for name, values in drawn.inputs()}
    if TIMESTAMP in drawn.read_by_features and TIMESTAMP in drawn.columns:
        telling[TIMESTAMP] = _time_strength(drawn, folds)
    yield from _single_features(telling, drawn)
    leaking = {name for name, strength in telling.items() if strength.auc >= LEAK_AUC}
    for name, values in drawn.inputs():
        if name not in leaking:
            yield from _after_click(name, values, drawn)
            yield from _encoded_in_id(name, values, drawn, folds)
    for name, values in train.inputs():
        if name not in leaking and values.starts is None and values.tokens is None:
            yield from _counts_itself(name, values, train)
    yield from _histories(drawn)


@dataclass(frozen=True)
class Strength:
    """How well a column predicts the label by itself, and by what."""

    auc: float
    by: str
    example: str = ""


def area(positive: np.ndarray, score: np.ndarray) -> float:
    """AUC of a score in the better direction; 0.5 without both classes."""
    value = exact_auc(positive.astype(np.float64), score)
    return 0.5 if value is None else max(value, 1 - value)


def out_of_fold(codes: np.ndarray, positive: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The smoothed label rate of the rows with the same code in the other folds; missing (-1) is a code, too."""
    codes = codes + 1
    size, rate = int(codes.max(initial=0)) + 1, positive.mean()
    cell = codes * _FOLDS + folds
    counts = np.bincount(cell, minlength=size * _FOLDS).reshape(size, _FOLDS)
    sums = np.bincount(cell, positive, minlength=size * _FOLDS).reshape(size, _FOLDS)
    rest, clicks = counts.sum(1)[codes] - counts[codes, folds], sums.sum(1)[codes] - sums[codes, folds]
    return np.asarray((clicks + _PRIOR * rate) / (rest + _PRIOR))


def binned(numbers: np.ndarray, bins: int = _BINS) -> np.ndarray:
    """Codes of quantile bins, -1 where missing; equal numbers share a bin."""
    real = ~np.isnan(numbers)
    edges = np.unique(np.quantile(numbers[real], np.linspace(0, 1, bins + 1)[1:])) if real.any() else np.empty(0)
    return np.where(real, np.searchsorted(edges, numbers), -1)


def _strength(name: str, values: Values, table: Table, folds: np.ndarray) -> Strength:
    y = table.positive
    if values.starts is not None:
        is_vector = values.tokens is None and values.values.dtype.kind == "f"
        return _vector_strength(values, y) if is_vector else _list_strength(values, y, folds)
    if values.tokens is not None:
        return _by_codes(values, values.codes, y, folds, "the label rate of its values")
    numbers = values.numbers
    middle = np.nanmedian(numbers) if (~values.missing).any() else 0.0
    by_value = area(y, np.nan_to_num(np.where(values.missing, middle, numbers)))
    by_bins = _by_codes(values, binned(numbers), y, folds, "the label rate of its values")
    return by_bins if by_bins.auc > by_value else Strength(by_value, "its value", by_bins.example)


def _by_codes(values: Values, codes: np.ndarray, y: np.ndarray, folds: np.ndarray, by: str) -> Strength:
    strength = area(y, out_of_fold(codes, y, folds))
    counts = np.bincount(codes + 1)
    rates = np.bincount(codes + 1, y) / np.maximum(counts, 1)
    best = int(np.argmax(np.where(counts >= min(20, counts.max()), rates, -1)))
    shown = int(np.argmax(codes + 1 == best))
    text = values.text(shown) if values.starts is None else ""
    example = f"{text}: {rates[best]:.2f} of {counts[best]:,} rows positive, {y.mean():.2f} of all" if text else ""
    return Strength(strength, by, example)


def _list_strength(values: Values, y: np.ndarray, folds: np.ndarray) -> Strength:
    lengths = np.asarray(values.lengths)
    strengths = [
        Strength(max(area(y, lengths), area(y, out_of_fold(binned(lengths.astype(float)), y, folds))), "its length")
    ]
    some = values.take(np.arange(min(len(y), _LIST_EXAMPLES)))
    y = y[:_LIST_EXAMPLES]
    example, place = some.pairs()
    codes = some.codes[place]
    last = np.full(len(y), -1, np.int64)
    last[example] = codes
    strengths.append(_by_codes(some, last, y, folds[: len(y)], "the label rate of its last value"))
    if len(codes):
        pair = np.unique(np.stack([codes, example]), axis=1) if len(codes) < 2_000_000 else np.stack([codes, example])
        counts, clicks = np.bincount(pair[0]), np.bincount(pair[0], y[pair[1]])
        frequent = np.argsort(-counts, kind="stable")[:_MEMBERS]
        hits = clicks[frequent] / y.sum() - (counts - clicks)[frequent] / (~y).sum()
        best = int(np.argmax(np.abs(hits)))
        shown = some.text(int(place[np.argmax(codes == frequent[best])]))
        strengths.append(Strength(0.5 + abs(float(hits[best])) / 2, f"holding {shown}"))
    return max(strengths, key=lambda one: one.auc)


def _vector_strength(values: Values, y: np.ndarray) -> Strength:
    width = int(np.asarray(values.lengths).max(initial=0))
    full = np.flatnonzero(np.asarray(values.lengths) == width)[: _LIST_EXAMPLES // 2]
    matrix = values.values[np.asarray(values.starts)[full][:, None] + np.arange(width)].astype(np.float64)
    matrix, y = np.nan_to_num(matrix), y[full]
    if not len(full) or min(y.sum(), (~y).sum()) < _FEWEST:
        return Strength(0.5, "")
    component = [area(y, matrix[:, index]) for index in range(width)]
    half = np.arange(len(y)) % 2 == 0
    means = matrix[half & y].mean(0) - matrix[half & ~y].mean(0)
    direction = matrix[~half] @ (means / (matrix[half].var(0) + 1e-6))
    best = int(np.argmax(component))
    along = area(y[~half], direction)
    return (
        Strength(along, "one direction") if along > component[best] else Strength(component[best], f"component {best}")
    )


def _time_strength(table: Table, folds: np.ndarray) -> Strength:
    """Negatives that were drawn elsewhere often have times of another pattern."""
    y, time = table.positive, table.time
    cycles = ((60, "its second in the minute"), (3600, "its second in the hour"), (86400, "its second in the day"))
    strengths = [Strength(area(y, time), "its order")]
    strengths += [Strength(area(y, out_of_fold(time % length, y, folds)), by) for length, by in cycles]
    return max(strengths, key=lambda one: one.auc)


def _single_features(telling: dict[str, Strength], table: Table) -> Iterator[Finding]:
    usual = max((one.auc for one in telling.values() if one.auc < SUSPICIOUS_AUC), default=0.5)
    for name, one in telling.items():
        alone = one.auc >= SUSPICIOUS_AUC and one.auc - 0.5 > 2 * (usual - 0.5)
        if one.auc >= LEAK_AUC or alone:
            limit = LEAK_AUC if one.auc >= LEAK_AUC else SUSPICIOUS_AUC
            message = (
                f"predicts the label by itself: AUC {one.auc:.3f} by {one.by}; the next best column has {usual:.3f}"
            )
            yield Finding("single_feature", "leak", name, message, one.auc, limit, one.example)
    if telling:
        best = max(telling, key=lambda name: telling[name].auc)
        if telling[best].auc < SUSPICIOUS_AUC and telling[best].auc >= 0.7:
            message = f"the most telling column: AUC {telling[best].auc:.3f} by {telling[best].by}"
            yield Finding("single_feature", "info", best, message, telling[best].auc, SUSPICIOUS_AUC)


def _after_click(name: str, values: Values, table: Table) -> Iterator[Finding]:
    y = table.positive
    codes = values.codes if values.starts is None else (np.asarray(values.lengths) > 0).astype(np.int64)
    counts = np.bincount(codes[~y] + 1, minlength=1)
    usual = int(np.argmax(counts)) - 1
    other = codes != usual
    if counts.max() < 0.5 * (~y).sum() or other.sum() < PURE_ROWS or y.mean() > 0.6:
        return
    rate = float(y[other].mean())
    if rate >= PURE:
        usually = values.text(int(np.argmax(~other))) if values.starts is None else "an empty list"
        rows = int(other.sum())
        message = f"other than {usually} in {rows:,} rows, of which {rate:.1%} are positive; of all {y.mean():.1%}"
        example = values.text(int(np.argmax(other))) if values.starts is None else ""
        yield Finding("after_click", "leak", name, message, rate, PURE, example)


def _encoded_in_id(name: str, values: Values, table: Table, folds: np.ndarray) -> Iterator[Finding]:
    if values.starts is not None or values.values.dtype.kind == "f":
        return
    if len(np.unique(values.codes)) < max(100, 0.001 * len(table)):
        return
    y, derived = table.positive, _parts_of_id(values)
    for what, codes in derived.items():
        strength = area(y, out_of_fold(codes, y, folds))
        if strength >= DERIVED_AUC:
            first, second = int(np.argmax(y)), int(np.argmax(~y))
            example = f"{values.text(first)} is positive, {values.text(second)} is not"
            message = f"its {what} predicts the label: AUC {strength:.3f}"
            yield Finding("id_encodes_label", "leak", name, message, strength, DERIVED_AUC, example)
            return


def _parts_of_id(values: Values) -> dict[str, np.ndarray]:
    if values.tokens is None:
        numbers = values.values.astype(np.int64)
        return {"last digit": np.abs(numbers) % 10, "size": binned(values.numbers)}
    parts: dict[str, Callable[[bytes], int]] = {
        "first character": lambda token: token[0] if token else 0,
        "last character": lambda token: token[-1] if token else 0,
        "length": len,
    }
    return {
        what: np.array([part(token) for token in values.tokens] + [-1])[values.values] for what, part in parts.items()
    }


def _counts_itself(name: str, values: Values, table: Table) -> Iterator[Finding]:
    for key in (USER_ID, ITEM_ID):
        ids = table.columns.get(key)
        if ids is None or ids.missing.all() or (key == ITEM_ID and table.share < 1.0):
            continue
        codes, y, numbers = ids.codes, table.positive, values.numbers
        for what, full, rest in _label_statistics(codes, y):
            differs = (np.abs(full - rest) > 1e-6) & (codes >= 0)
            same = (
                float((np.abs(numbers - full) <= 1e-5 + 1e-5 * np.abs(full))[differs].mean()) if differs.any() else 0.0
            )
            if differs.sum() >= 4 * PURE_ROWS and same >= 0.9:
                message = (
                    f"equals the {what} of the labels of its {key}, the row's own included, in {same:.1%} of the rows"
                )
                yield Finding("counts_itself", "leak", name, message, same, 0.9)
                return
        jump, before = _jumps(codes, table.time, y, numbers)
        if jump >= JUMP_AUC and jump - before >= 0.1 and jump - area(y, np.nan_to_num(numbers)) >= 0.1:
            message = (
                f"jumps at the very click of its {key}: AUC of the jump {jump:.3f}, and {before:.3f} after a click"
            )
            yield Finding("counts_itself", "leak", name, message, jump, JUMP_AUC)
            return


def _label_statistics(codes: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Sum and mean of the labels of each row's id, with the row and without."""
    counts, sums = np.bincount(codes + 1)[codes + 1], np.bincount(codes + 1, y)[codes + 1]
    yield "sum", sums, sums - y
    yield "mean", sums / counts, (sums - y) / np.maximum(counts - 1, 1)


def _jumps(codes: np.ndarray, time: np.ndarray, y: np.ndarray, numbers: np.ndarray) -> tuple[float, float]:
    """AUC of the change of a number since the id's last moment for a click now, and for a click at that moment."""
    order = np.lexsort((time, codes))
    order = order[(codes[order] >= 0) & ~np.isnan(numbers[order])]
    if len(order) < 2 * PURE_ROWS:
        return 0.5, 0.5
    first = (np.diff(codes[order], prepend=-2) != 0) | (np.diff(time[order], prepend=-1) != 0)
    starts = np.flatnonzero(first)
    code, clicked = codes[order][starts], np.maximum.reduceat(y[order], starts)
    value = np.add.reduceat(numbers[order], starts) / np.diff(np.append(starts, len(order)))
    follows = np.flatnonzero(np.diff(code) == 0) + 1
    change = value[follows] - value[follows - 1]
    now, last = clicked[follows], clicked[follows - 1]
    if min(now.sum(), (~now).sum()) < _FEWEST or not change.any():
        return 0.5, 0.5
    return area(now, change), area(last, change)


def _histories(table: Table) -> Iterator[Finding]:
    """Lists that hold a value of the same row, of features with one vocabulary."""
    features = [feature for feature in table.feature_set.features if feature.column in table.columns]
    pairs = {
        (one.column, other.column)
        for one in features
        for other in features
        if one.vocabulary == other.vocabulary
        and table.columns[one.column].starts is not None
        and table.columns[other.column].starts is None
        and table.feature_set.column(one.column).variable_length
    }
    for name, key in sorted(pairs):
        lists, ids = table.columns[name], table.columns[key]
        if (lists.tokens is None) != (ids.tokens is None):
            continue
        yield from _held(name, key, lists, ids, table)


def _held(name: str, key: str, lists: Values, ids: Values, table: Table) -> Iterator[Finding]:
    y = table.positive
    example, place = lists.pairs()
    last = np.full(len(table), -1, np.int64)
    last[example] = place
    if lists.tokens is not None and ids.tokens is not None:
        known = {token: index for index, token in enumerate(ids.tokens)}
        names = np.array([known.get(token, -2) for token in lists.tokens] + [-2])
        elements, item = names[lists.values], ids.values
    else:
        elements, item = lists.values, ids.values
    if not len(elements):
        return
    for where, held in (
        ("as its last value", (last >= 0) & ~ids.missing & (elements[last] == item)),
        ("in it", np.bincount(example[elements[place] == item[example]], minlength=len(table)) > 0),
    ):
        gap = float(held[y].mean() - held[~y].mean())
        pure = float(y[held].mean()) if held.sum() >= PURE_ROWS and y.mean() <= 0.6 else 0.0
        if gap >= HOLDS_GAP or pure >= PURE:
            shares = f"{held[y].mean():.1%} of positives, {held[~y].mean():.1%} of negatives"
            message = f"has the row's own {key} {where} in {shares}"
            yield Finding("history_holds_event", "leak", name, message, max(gap, pure), HOLDS_GAP)
            return
