"""Checks for columns that know the label: each looks at the train split and gives findings of grade leak."""

from collections.abc import Callable, Iterator

import numpy as np

from runs.audit.findings import Finding
from runs.audit.strength import FEWEST, Labels, Strength, belongs_to_id, binned
from runs.audit.table import ITEM_ID, USER_ID, Table, Values
from transforms.features import TIMESTAMP

LEAK_AUC, SUSPICIOUS_AUC = 0.95, 0.85
WITHIN_AUC = 0.8
NOTABLE_AUC = 0.8
PURE, PURE_ROWS = 0.98, 50
DERIVED_AUC = 0.9
HOLDS_GAP = 0.8
_EXAMPLES = 200_000


def leaks(train: Table, seed: int = 1) -> Iterator[Finding]:
    """The findings of all checks of this file.

    Args:
      train: the examples of the train split.
      seed: of the examples and folds that are drawn.
    """
    positives = int(train.positive.sum())
    if min(positives, len(train) - positives) < FEWEST:
        return
    drawn = train
    if len(train) > _EXAMPLES:
        chosen = np.random.default_rng(seed).choice(len(train), _EXAMPLES, replace=False)
        drawn = train.where(np.sort(chosen))
    labels = Labels(drawn, seed)
    telling = {name: labels.strength(values) for name, values in drawn.inputs()}
    if TIMESTAMP in drawn.read_by_features and TIMESTAMP in drawn.columns:
        telling[TIMESTAMP] = labels.of_time()
    yield from _single_features(telling, drawn, labels)
    leaking = {name for name, strength in telling.items() if strength.auc >= LEAK_AUC}
    for name, values in drawn.inputs():
        if name not in leaking:
            yield from _after_click(name, values, drawn)
            yield from _encoded_in_id(name, values, labels)
    yield from _histories(drawn)


def _single_features(telling: dict[str, Strength], table: Table, labels: Labels) -> Iterator[Finding]:
    for name, one in telling.items():
        if one.auc < NOTABLE_AUC:
            continue
        usual = max((other.auc for key, other in telling.items() if key != name), default=0.5)
        message = f"predicts the label by itself: AUC {one.auc:.3f} by {one.by}; the next best column has {usual:.3f}"
        within = _within(name, one, telling, table, labels) if one.auc < LEAK_AUC else None
        if within is not None:
            message += f"; {within:.3f} among rows of which all other columns say the same"
        stands_out = one.auc - 0.5 > 2 * (usual - 0.5) if within is None else within >= WITHIN_AUC
        of_id = name in (USER_ID, ITEM_ID) or belongs_to_id(table.columns[name], table)
        if one.auc >= LEAK_AUC or (one.auc >= SUSPICIOUS_AUC and stands_out and not of_id):
            limit = LEAK_AUC if one.auc >= LEAK_AUC else SUSPICIOUS_AUC
            yield Finding("single_feature", "leak", name, message, one.auc, limit, one.example)
        elif stands_out or (within is not None and within >= WITHIN_AUC - 0.03):
            yield Finding("single_feature", "warning", name, message, one.auc, NOTABLE_AUC, one.example)
    if telling:
        best = max(telling, key=lambda name: telling[name].auc)
        if 0.7 <= telling[best].auc < NOTABLE_AUC:
            message = f"the most telling column: AUC {telling[best].auc:.3f} by {telling[best].by}"
            yield Finding("single_feature", "info", best, message, telling[best].auc, NOTABLE_AUC)


def _within(name: str, one: Strength, telling: dict[str, Strength], table: Table, labels: Labels) -> float | None:
    """AUC of a column among rows of which all others say the same: of a leak it is as high as among all rows.

    None of columns that have no label rates, and of ids: what users and items are like may well predict that much.
    """
    if one.rates is None or name in (USER_ID, ITEM_ID) or belongs_to_id(table.columns[name], table):
        return None
    others = [other.rates for key, other in telling.items() if key != name and other.rates is not None]
    return labels.within(one.rates, others)


def _after_click(name: str, values: Values, table: Table) -> Iterator[Finding]:
    y = table.positive
    codes = values.codes if values.starts is None else (np.asarray(values.lengths) > 0).astype(np.int64)
    counts = np.bincount(codes[~y] + 1, minlength=1)
    usual = int(np.argmax(counts)) - 1
    other = codes != usual
    regular = counts.max() >= 0.5 * (~y).sum() and other.sum() >= PURE_ROWS and y.mean() <= 0.6
    rate = float(y[other].mean()) if regular else 0.0
    if rate >= PURE:
        usually = values.text(int(np.argmax(~other))) if values.starts is None else "an empty list"
        rows = int(other.sum())
        message = f"other than {usually} in {rows:,} rows, of which {rate:.1%} are positive; of all {y.mean():.1%}"
        example = values.text(int(np.argmax(other))) if values.starts is None else ""
        yield Finding("after_click", "leak", name, message, rate, PURE, example)
    elif values.starts is None:
        yield from _only_without_click(name, values, table)


def _only_without_click(name: str, values: Values, table: Table) -> Iterator[Finding]:
    """A value that many rows have, of users and items of which others are positive, and no positive row."""
    y, codes = table.positive, values.codes + 1
    counts, positives = np.bincount(codes), np.bincount(codes, y)
    expected = counts * y.mean()
    pure = (positives <= (1 - PURE) * expected) & (expected >= PURE_ROWS)
    if not pure[1:].any() or name in (USER_ID, ITEM_ID) or belongs_to_id(values, table):
        return
    value = 1 + int(np.argmax(np.where(pure[1:], counts[1:], 0)))
    shown = values.text(int(np.argmax(codes == value)))
    message = f"{shown} in {counts[value]:,} rows, of which {positives[value]:,.0f} are positive; of all {y.mean():.1%}"
    yield Finding("after_click", "warning", name, message, float(positives[value] / counts[value]), 1 - PURE, shown)


def _encoded_in_id(name: str, values: Values, labels: Labels) -> Iterator[Finding]:
    if values.starts is not None or values.values.dtype.kind == "f":
        return
    y = labels.positive
    if len(np.unique(values.codes)) < max(100, 0.001 * len(y)):
        return
    for what, codes in _parts_of_id(values).items():
        strength, _ = labels.of_codes(codes)
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


def _histories(table: Table) -> Iterator[Finding]:
    """Lists that hold a value of the same row, of features with one vocabulary."""
    gains = {}
    for name, key in _history_pairs(table):
        lists, ids = table.columns[name], table.columns[key]
        if (lists.tokens is None) == (ids.tokens is None):
            elements, own = _in_one_code(lists, ids)
            yield from _held(name, key, elements, own, lists, table)
            if key == ITEM_ID and (both := _gains(elements, own, lists, table)) is not None:
                gains[name] = both
    if gains and all(negative - positive >= 0.5 for positive, negative in gains.values()):
        name = next(iter(gains))
        positive, negative = gains[name]
        message = f"gains the item of {negative:.0%} of negative rows, and of {positive:.0%} of positive ones"
        yield Finding("flipped_labels", "error", name, message, negative - positive, 0.5)


def _history_pairs(table: Table) -> list[tuple[str, str]]:
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
    return sorted(pairs)


def _in_one_code(lists: Values, ids: Values) -> tuple[np.ndarray, np.ndarray]:
    """The elements of lists, and the value of each row, such that equal ones are equal numbers."""
    if lists.tokens is None or ids.tokens is None:
        return lists.values, ids.values
    known = {token: index for index, token in enumerate(ids.tokens)}
    names = np.array([known.get(token, -2) for token in lists.tokens] + [-2])
    return names[lists.values], ids.values


def _gains(elements: np.ndarray, own: np.ndarray, lists: Values, table: Table) -> tuple[float, float] | None:
    """Shares of positive and of negative rows whose item stands in the user's next history, and not yet in theirs."""
    users = table.columns.get(USER_ID)
    if users is None or users.missing.all() or not len(elements):
        return None
    order = np.lexsort((table.time, users.codes))
    order = order[users.codes[order] >= 0]
    # The first row of the user's next moment; requests have many rows of one moment.
    moment = np.flatnonzero(
        (np.diff(users.codes[order], prepend=-2) != 0) | (np.diff(table.time[order], prepend=-1) != 0)
    )
    number = np.searchsorted(moment, np.arange(len(order)), side="right")
    follower = order[moment[np.minimum(number, len(moment) - 1)]]
    follows = (number < len(moment)) & (users.codes[follower] == users.codes[order]) & (own[order] >= 0)
    rows, follower = order[follows], follower[follows]
    example, place = lists.pairs()
    largest = int(max(own.max(initial=0), elements.max(initial=0))) + 3
    held = np.unique(example.astype(np.int64) * largest + elements[place] + 2)
    fresh = ~np.isin(rows * largest + own[rows] + 2, held)
    rows, follower = rows[fresh], follower[fresh]
    gained, y = np.isin(follower * largest + own[rows] + 2, held), table.positive[rows]
    if min(y.sum(), (~y).sum()) < FEWEST:
        return None
    return float(gained[y].mean()), float(gained[~y].mean())


def _held(
    name: str, key: str, elements: np.ndarray, item: np.ndarray, lists: Values, table: Table
) -> Iterator[Finding]:
    y = table.positive
    example, place = lists.pairs()
    last = np.full(len(table), -1, np.int64)
    last[example] = place
    if not len(elements):
        return
    for where, held in (
        ("as its last value", (last >= 0) & ~table.columns[key].missing & (elements[last] == item)),
        ("in it", np.bincount(example[elements[place] == item[example]], minlength=len(table)) > 0),
    ):
        gap = float(held[y].mean() - held[~y].mean())
        pure = float(y[held].mean()) if held.sum() >= PURE_ROWS and y.mean() <= 0.6 else 0.0
        if gap >= HOLDS_GAP or pure >= PURE:
            shares = f"{held[y].mean():.1%} of positives, {held[~y].mean():.1%} of negatives"
            message = f"has the row's own {key} {where} in {shares}"
            yield Finding("history_holds_event", "leak", name, message, max(gap, pure), HOLDS_GAP)
            return
