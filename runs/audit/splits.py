"""Checks of how the splits of a dataset fit together: rows in two of them, times, ids, values and labels."""

from collections.abc import Iterator

import numpy as np

from evaluation.pointwise import auc
from runs.audit.drift import LIMIT, Distance, distributions
from runs.audit.faults import hashed, row_text
from runs.audit.findings import Finding, Grade
from runs.audit.strength import FEWEST, Labels, binned
from runs.audit.table import ITEM_ID, REQUEST_ID, USER_ID, Table, Values
from transforms.features import SPLITS, VOCABULARY_ENCODINGS, Split

UNSEEN, OTHER_SIDE, STOPS_FAR = 0.95, 0.01, 0.5
_EXAMPLES = 200_000
_PRIOR, _UNSEEN_CODES = 5.0, 0.2


def splits(table: Table) -> Iterator[Finding]:
    """The findings of all checks of this file.

    Args:
      table: the examples of all splits.
    """
    train = table.of("train")
    later = {split: part for split in SPLITS[1:] if len(part := table.of(split))}
    if not len(train):
        return
    usual = distributions(train)
    for split, part in later.items():
        yield from _overlap(table, train, part, split)
        yield from _order(train, part, split)
        yield from _unseen_ids(train, part, split)
        for name, expected in usual.items():
            if name in part.columns and (distance := expected.distance(part.columns[name])).stands_out:
                message = f"distributed otherwise in {split} than in train: {distance}"
                yield Finding("split_shift", _grade(distance), name, message, distance.divergence, LIMIT)
    yield from _label_shift(train, later)
    yield from _label_relation(table, tuple(later))


def _grade(distance: Distance) -> Grade:
    """An error where a model learned from train cannot be right: other units, or a column that is not there."""
    gone = distance.missing[1] >= 0.99 and distance.missing[0] < 0.5
    return "error" if distance.far >= STOPS_FAR or gone else "warning"


def _overlap(table: Table, train: Table, later: Table, split: str) -> Iterator[Finding]:
    """Rows that train has, too, are an error; rows of a request that it has a part of are a warning."""
    keys: tuple[tuple[Grade, str, tuple[str, ...]], ...] = (
        ("error", "are events that train has", (USER_ID, ITEM_ID, "timestamp", "label")),
        ("warning", "are of requests of which train has a part", (REQUEST_ID, USER_ID)),
    )
    if not np.ptp(table.time):
        everything = tuple(name for name, values in table.columns.items() if values.starts is None)
        keys = (("warning", "equal rows that train has", everything), keys[1])
    for grade, what, names in keys:
        if any(name not in table.columns for name in names) or table.columns[names[0]].missing.all():
            continue
        # Codes of numbers are by table: hashed together.
        both = hashed(table, names)
        known, asked = both[table.split == SPLITS.index("train")], both[table.split == later.split[0]]
        twice = np.isin(asked, known)
        if twice.mean() >= 0.01:
            example = row_text(later, int(np.argmax(twice)))
            message = f"{twice.mean():.1%} of the rows of {split} {what}"
            yield Finding("split_overlap", grade, split, message, float(twice.mean()), 0.01, example)
            return


def _order(train: Table, later: Table, split: str) -> Iterator[Finding]:
    late = float((train.time > np.quantile(later.time, 0.01)).mean())
    early = float((later.time <= np.quantile(train.time, 0.999)).mean())
    if OTHER_SIDE <= early < 0.5 and late > 0:
        message = f"{early:.1%} of the rows of {split} are not later than train, and the rest of them is"
        yield Finding("split_order", "warning", split, message, early, OTHER_SIDE)
    elif 0.001 <= late < 0.5:
        message = f"{late:.1%} of the train rows are later than the first rows of {split}"
        yield Finding("split_order", "warning", split, message, late, 0.001)
    elif late >= 0.5:
        message = f"train and {split} are not cut by time: {late:.0%} of the train rows are later than its first rows"
        yield Finding("split_order", "info", split, message, late, 0.5)


def _unseen_ids(train: Table, later: Table, split: str) -> Iterator[Finding]:
    is_by_time = bool((train.time > np.quantile(later.time, 0.01)).mean() < 0.5)
    learned = {one.column for one in train.feature_set.features if one.encoding in VOCABULARY_ENCODINGS}
    for name, values in later.columns.items():
        is_key = name in (USER_ID, ITEM_ID)
        if values.starts is not None or values.missing.all() or not (is_key or name in learned):
            continue
        unseen = ~np.isin(values.values, train.columns[name].values) & ~values.missing
        share = float(unseen.mean())
        if share >= UNSEEN or (is_key and share >= 0.2):
            by_id = share == 1.0 and not is_by_time
            grade: Grade = "warning" if share >= UNSEEN and not by_id else "info"
            message = f"{share:.0%} of the rows of {split} have a {name} that train does not have"
            message += ", as where splits are by it" if by_id else ""
            yield Finding("unseen_ids", grade, name, message, share, UNSEEN, values.text(int(np.argmax(unseen))))


def _label_shift(train: Table, later: dict[Split, Table]) -> Iterator[Finding]:
    for split, part in later.items():
        if (other := _differs(part, train.rate, 1.5)) is not None:
            message = f"label rate {other:.3g} in {split}, {train.rate:.3g} in train"
            error = part.rate_error(train.rate)
            flipped = abs(other - (1 - train.rate)) <= 3 * error and abs(other - train.rate) > 10 * error
            message += ", as if labels were flipped" if flipped else ""
            grade: Grade = "error" if flipped else "warning"
            yield Finding("label_shift", grade, split, message, other / max(train.rate, 1e-9), 1.5)
    for number, tenth in enumerate(np.array_split(np.argsort(train.time, kind="stable"), 10)):
        if len(tenth) and (other := _differs(train.where(tenth), train.rate, 2.0)) is not None:
            message = (
                f"label rate {other:.3g} in tenth {number + 1} of the time of train, {train.rate:.3g} in all of it"
            )
            yield Finding("label_shift", "warning", "train", message, other / max(train.rate, 1e-9), 2.0)
            return


def _differs(part: Table, rate: float, factor: float) -> float | None:
    """The label rate of some rows if it differs from another by a factor and beyond 5 standard errors."""
    ratio = max(part.rate, rate) / max(min(part.rate, rate), 1e-9)
    return part.rate if ratio >= factor and abs(part.rate - rate) > 5 * part.rate_error(rate) else None


def _label_relation(table: Table, later: tuple[Split, ...]) -> Iterator[Finding]:
    """Labels of a later split that are not what the label rates of train's values say: flipped, or joined wrongly."""
    chosen = {split: _some(table.split == index) for index, split in enumerate(SPLITS)}
    train = table.where(chosen["train"])
    labels = Labels(train)
    before = np.zeros(len(train))
    scores = {split: np.zeros(len(chosen[split])) for split in later}
    for values in dict(table.inputs()).values():
        codes = _codes(values, chosen["train"])
        known, rates = codes[chosen["train"]], np.full(int(codes.max(initial=0)) + 2, labels.rate)
        counts = np.bincount(known + 1, labels.weight, len(rates))
        sums = np.bincount(known + 1, labels.weight * labels.positive, len(rates))
        rates = (sums + _PRIOR * labels.rate) / (counts + _PRIOR)
        seen = {split: codes[chosen[split]] + 1 for split in later}
        # Ids that come and go say nothing, and a model of them would have nothing to say either.
        if any((counts[one] == 0).mean() >= _UNSEEN_CODES for one in seen.values()):
            continue
        before += _logit(labels.of_codes(known)[1])
        for split, one in seen.items():
            scores[split] += _logit(rates[one])
    usual = auc(labels.positive.astype(np.float64), before, labels.weight)
    for split in later:
        part = table.where(chosen[split])
        value = auc(part.positive.astype(np.float64), scores[split], part.weight)
        positives, negatives = int(part.positive.sum()), int((~part.positive).sum())
        if usual is None or usual < 0.55 or value is None or min(positives, negatives) < FEWEST:
            continue
        limit = 0.5 + (usual - 0.5) / 2
        # The error of an AUC about 0.5; of users, rows are no independent ones.
        highest = value + 4 * float(np.sqrt((len(part) + 1) / (12 * positives * negatives)))
        if highest < limit:
            grade: Grade = "error" if highest < 0.5 else "warning"
            message = (
                f"what predicts the labels of train with AUC {usual:.3f} predicts those of {split} with {value:.3f}"
            )
            yield Finding("label_relation", grade, split, message, value, limit)


def _some(rows: np.ndarray) -> np.ndarray:
    """The rows of a mask, or as many of them from all over it as are looked at."""
    index = np.flatnonzero(rows)
    return index[:: max(1, len(index) // _EXAMPLES)]


def _codes(values: Values, train: np.ndarray) -> np.ndarray:
    """A code for the value of each row: bins of numbers, the last value of lists, -1 where missing."""
    if values.starts is not None:
        if values.tokens is None:
            return np.full(len(values.starts), -1)
        example, place = values.pairs()
        last = np.full(len(values.starts), -1)
        last[example] = values.values[place]
        return last
    if values.tokens is not None:
        return values.codes
    numbers = values.numbers
    return binned(numbers, edges_of=numbers[train])


def _logit(rates: np.ndarray) -> np.ndarray:
    clipped = np.clip(rates, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))
