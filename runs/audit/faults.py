"""Checks for faults of a dataset: labels, times, duplicates and columns."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from evaluation.ranks import RankedGroups
from runs.audit.findings import Finding, Grade
from runs.audit.strength import FEWEST
from runs.audit.table import ITEM_ID, REQUEST_ID, USER_ID, Table, Values
from transforms.features import SPLITS, TIME_ENCODINGS, TIMESTAMP, VOCABULARY_ENCODINGS, Split

DAY, YEAR = 86_400, 31_557_600
CONSTANT, SAME_ORDER = 0.995, 0.95
ORDER_AUC, ORDER_LEAK = 0.9, 0.95
_LAST = 253_402_300_799
FIRST_CLOCK = 631_152_000
"""1990: earlier times are numbers of rows, or of another unit."""
_UNITS: dict[float, str] = {
    60: "minutes",
    3600: "hours",
    DAY: "days",
    1000: "thousands of seconds",
    1e-3: "milliseconds",
    1e-6: "microseconds",
    1e-9: "nanoseconds",
}
_MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def faults(table: Table, expected_splits: tuple[Split, ...], now: float) -> Iterator[Finding]:
    """The findings of all checks of this file.

    Args:
      table: the examples of all splits.
      expected_splits: those that the dataset must have.
      now: seconds since 1970.
    """
    for name, records in table.incomplete.items():
        message = f"missing in {records:,} of {table.records:,} records, or of another length there"
        yield Finding("missing_column", "error", name, message, records / max(table.records, 1), 0.0)
    for split in expected_splits:
        if not (table.split == SPLITS.index(split)).any():
            yield Finding("empty_split", "error", split, f"split {split} has no examples", 0.0, 1.0)
    if not len(table):
        return
    yield from _labels(table)
    yield from _times(table, now)
    yield from _duplicates(table)
    yield from _repeated_periods(table)
    train = table.of("train")
    for name, values in table.inputs():
        yield from _garbage(name, values, len(table))
    if len(train):
        for name, values in train.inputs():
            yield from _column(name, values, train)
        yield from _positions(train)


def _labels(table: Table) -> Iterator[Finding]:
    wrong = ~((table.label >= 0) & (table.label <= 1))
    if wrong.any():
        example = str(table.label[np.argmax(wrong)])
        message = f"{int(wrong.sum()):,} labels are missing or outside of 0 to 1"
        yield Finding("labels", "error", "label", message, float(wrong.mean()), 0.0, example)
    for index in np.unique(table.split):
        part = table.split == index
        labels = table.label[part & (table.weight > 0)] if table.weight[part].any() else table.label[part]
        if (labels == labels[0]).all() and labels[0] in (0.0, 1.0):
            message = f"all {len(labels):,} labels of split {SPLITS[index]} are {labels[0]:g}"
            yield Finding("labels", "error", SPLITS[index], message, float(labels[0]), 0.0)


def _times(table: Table, now: float) -> Iterator[Finding]:
    time = table.time
    ahead = time > now + DAY
    if ahead.any():
        last = _day(int(time.max()))
        message = f"{int(ahead.sum()):,} of {len(time):,} rows lie after now, the last on {last}"
        yield Finding("future_times", "error", "timestamp", message, float(ahead.mean()), 0.0, last)
    ordered = np.sort(time[~ahead]) if (~ahead).any() else np.sort(time)
    gaps = np.diff(ordered)
    if len(gaps):
        widest = int(np.argmax(gaps))
        for few, others in (
            (ordered[: widest + 1], ordered[widest + 1 :]),
            (ordered[widest + 1 :], ordered[: widest + 1]),
        ):
            span = int(others[-1] - others[0])
            if len(few) <= 0.1 * len(ordered) and gaps[widest] > max(YEAR, 3 * span):
                message = f"{len(few):,} rows lie {gaps[widest] / YEAR:.1f} years from all others"
                yield Finding(
                    "stray_times", "error", "timestamp", message, len(few) / len(time), 0.1, _day(int(few[0]))
                )
    clocks = {f.column for f in table.feature_set.features if f.encoding in TIME_ENCODINGS}
    for name in sorted((clocks | {TIMESTAMP}) & set(table.columns)):
        values = table.columns[name].numbers
        values = values[~np.isnan(values)]
        yield from _unit(name, values, now, name in clocks)


def _unit(name: str, times: np.ndarray, now: float, is_clock: bool) -> Iterator[Finding]:
    """Times of which features take the hour or the day, or that would be times of a clock in another unit."""
    if not len(times) or FIRST_CLOCK <= np.median(times) <= now + DAY:
        return
    low, high = np.quantile(times, [0.01, 0.99])
    likely = [unit for factor, unit in _UNITS.items() if low * factor >= FIRST_CLOCK and high * factor <= now + DAY]
    if not likely and not is_clock:
        return  # Numbers of rows, where a log has no times.
    what = f"look like {' or '.join(likely)}" if likely else "are no seconds of a clock"
    message = f"times from {low:.6g} to {high:.6g} {what}" + (
        ", and features take their hour or weekday" if is_clock else ""
    )
    yield Finding("time_unit", "warning", name, message, float(np.median(times)), FIRST_CLOCK)


def hashed(table: Table, names: Sequence[str]) -> np.ndarray:
    """A number for each example that is equal where all these scalars are equal."""
    mixed = np.zeros(len(table), np.uint64)
    for name in names:
        values = table.columns[name]
        bits = values.codes if values.values.dtype.kind != "f" else np.nan_to_num(values.values).astype(np.float64)
        mixed = _mix(mixed, np.ascontiguousarray(bits).astype(np.float64).view(np.uint64))
    return mixed


def _mix(state: np.ndarray, more: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = (state ^ more) * _MIXERS[0]
        state = (state ^ (state >> np.uint64(29))) * _MIXERS[1]
        return np.asarray((state ^ (state >> np.uint64(32))) * _MIXERS[2])


def _scalars(table: Table) -> list[str]:
    return [name for name, values in table.columns.items() if values.starts is None and name != REQUEST_ID]


def _duplicates(table: Table) -> Iterator[Finding]:
    # An ad that is shown twice within a day leaves equal rows, if they have the day alone.
    coarse = not (table.time % 60).any()
    for index in np.unique(table.split):
        part = table.where(table.split == index)
        _, first, counts = np.unique(hashed(part, _scalars(part)), return_index=True, return_counts=True)
        share = float((counts - 1).sum() / len(part))
        if share >= 0.01:
            grade: Grade = "error" if share >= (0.4 if coarse else 0.1) else "warning"
            example = row_text(part, int(first[np.argmax(counts)]))
            message = f"{share:.1%} of the rows of split {SPLITS[index]} are copies of others"
            yield Finding("duplicates", grade, SPLITS[index], message, share, 0.1, f"{counts.max()} times {example}")


def _repeated_periods(table: Table) -> Iterator[Finding]:
    keys = [name for name in (USER_ID, ITEM_ID) if name in table.columns and not table.columns[name].missing.all()]
    if not np.ptp(table.time):
        return
    same = hashed(table, [*(keys or [name for name in _scalars(table) if name != "timestamp"]), "label"])
    for length, what in ((3600, "hour"), (DAY, "day")):
        worst = _most_repeated(same, table.time, length)
        if worst is not None:
            share, rows, first, second, periods = worst
            again = f"again in that of {_minute(second)}" if second != first else "twice"
            message = f"{share:.0%} of the {rows:,} rows of the {what} of {_minute(first)} stand there {again}"
            if periods > 1:
                message += f"; {periods} such {what}s"
            # What happens in most hours is a habit of this log, or is reported as duplicates.
            habit = periods > max(2, len(np.unique(table.time // length)) / 2)
            grade: Grade = "warning" if habit else "error"
            yield Finding("repeated_period", grade, "timestamp", message, share, 0.5, _minute(first))
            return


def _most_repeated(same: np.ndarray, time: np.ndarray, length: int) -> tuple[float, int, int, int, int] | None:
    """Share, rows, and starts of the two periods of which one repeats the other most; and how many there are."""
    period, within = time // length, time % length
    event = _mix(same, within.astype(np.float64).view(np.uint64))
    order = np.lexsort((period, event))
    event, period = event[order], period[order]
    new = np.diff(event, prepend=event[0] ^ np.uint64(1)) != 0
    counts = np.bincount(np.cumsum(new) - 1)[np.cumsum(new) - 1]
    # What happens at the same second of many hours is a habit, and no copy.
    follows = np.flatnonzero(~new & (counts <= 4))
    if not len(follows):
        return None
    pairs = np.stack([period[follows - 1], period[follows]], axis=1)
    distinct, copies = np.unique(pairs, axis=0, return_counts=True)
    periods, sizes = np.unique(time // length, return_counts=True)
    size = sizes[np.searchsorted(periods, distinct)]
    within_one = distinct[:, 0] == distinct[:, 1]
    shares = np.where(within_one, 2 * copies / size[:, 0], copies / size.min(axis=1))
    repeated = (shares >= 0.5) & (copies >= 10)
    if not repeated.any():
        return None
    worst = int(np.argmax(np.where(repeated, shares * 1e-6 + copies, -1)))
    first, second = distinct[worst]
    share = min(float(shares[worst]), 1.0)
    return share, int(size[worst, 0]), int(first) * length, int(second) * length, int(repeated.sum())


def _garbage(name: str, values: Values, rows: int) -> Iterator[Finding]:
    if values.tokens is None or not len(values.tokens):
        return
    wrong = np.array([_is_garbage(token) for token in values.tokens])
    if not wrong.any():
        return
    present = values.values[values.values >= 0]
    hits = wrong[present]
    share = float(hits.mean()) if len(hits) else 0.0
    grade: Grade = "info" if share > 0.99 else ("error" if share >= 0.001 else "warning")
    message = f"{int(hits.sum()):,} values ({share:.2%}) are no text"
    example = repr(values.tokens[int(np.argmax(wrong))][:40])
    yield Finding("garbage_text", grade, name, message, share, 0.001, example)


def _is_garbage(token: bytes) -> bool:
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return True
    return (not text.isprintable() and any(ord(one) < 32 or ord(one) == 127 for one in text)) or "\ufffd" in text


def _column(name: str, values: Values, train: Table) -> Iterator[Finding]:
    if values.starts is not None:
        lengths = np.asarray(values.lengths)
        empty = float((lengths == 0).mean())
        if empty >= 0.99:
            message = f"an empty list in {empty:.1%} of the rows of train"
            yield Finding("almost_empty", "warning", name, message, empty, 0.99)
        places = values.pairs()[1]
        yield from _cardinality(name, values, values.codes[places], train)
        return
    missing, codes = float(values.missing.mean()), values.codes
    real = codes[codes >= 0]
    if missing >= 0.99:
        yield Finding("almost_empty", "warning", name, f"missing in {missing:.1%} of the rows of train", missing, 0.99)
    elif len(real) and missing < 1 - CONSTANT and len(train) >= 100:
        counts = np.bincount(codes + 1)
        share, usual = float(counts.max() / len(train)), int(np.argmax(counts)) - 1
        if share >= CONSTANT:
            rows = f"all {len(train):,}" if share == 1.0 else f"{share:.2%} of the"
            message = f"{values.text(int(np.argmax(codes == usual)))} in {rows} rows of train"
            yield Finding("constant", "warning", name, message, share, CONSTANT)
    yield from _cardinality(name, values, real, train)


def _cardinality(name: str, values: Values, real: np.ndarray, train: Table) -> Iterator[Finding]:
    ids = [f for f in train.feature_set.features if f.column == name and f.encoding in VOCABULARY_ENCODINGS]
    vocabularies = {one.name: one for one in train.feature_set.id_vocabularies}
    open_ended = [
        f
        for f in ids
        if (v := vocabularies[f.vocabulary]).top_k is None and v.hash_buckets is None and v.frequency_threshold == 1
    ]
    distinct = len(np.unique(real))
    if open_ended and len(real) >= 1000 and distinct >= 0.5 * len(real):
        what = "rows" if values.starts is None else "list elements"
        message = f"{distinct:,} distinct ids in {len(real):,} {what} of train"
        yield Finding("cardinality", "warning", name, message, distinct / len(real), 0.5, values.text(0))


def _positions(train: Table) -> Iterator[Finding]:
    y, weight = train.positive, train.weight
    if y.all() or not y.any():
        return
    yield from _candidate_order(train)
    position = train.columns.get("position")
    if position is None or position.tokens is not None or position.missing.all():
        return
    numbers = position.numbers
    low, high = np.nanquantile(numbers, [0.25, 0.75])
    first, last = numbers <= low, numbers >= high
    if low < high and weight[first].any() and weight[last].any():
        rates = [float(np.average(y[rows], weights=weight[rows])) for rows in (first, last)]
        factor = max(rates[0], 1e-9) / max(rates[1], 1e-9)
        if max(factor, 1 / factor) >= 1.2:
            grade: Grade = "warning" if "position" in train.read_by_features else "info"
            message = f"label rate {rates[0]:.3g} up to position {low:g}, {rates[1]:.3g} from {high:g} on"
            yield Finding("position", grade, "position", message, factor, 1.2)
    ranks = _ranks(numbers)
    for name, values in train.inputs():
        if name == "position" or values.starts is not None or values.tokens is not None or values.missing.all():
            continue
        both = ~values.missing & ~position.missing
        other = _ranks(values.numbers[both])
        spread = float(other.std() * ranks[both].std())
        alike = abs(float(np.mean((other - other.mean()) * (ranks[both] - ranks[both].mean())))) / max(spread, 1e-9)
        if spread > 0 and alike >= SAME_ORDER:
            message = f"orders rows as the position does: rank correlation {alike:.3f}"
            yield Finding("position", "warning", name, message, alike, SAME_ORDER)


def _candidate_order(train: Table) -> Iterator[Finding]:
    """Clicks that stand first, or last, in their requests."""
    requests = train.columns.get(REQUEST_ID)
    if requests is None or not train.place.any():
        return
    rows = requests.codes >= 0
    groups = np.unique(requests.codes[rows], return_inverse=True)[1].reshape(-1)
    positive, negative = train.positive[rows].astype(np.float64), (~train.positive[rows]).astype(np.float64)
    areas = RankedGroups(groups, -train.place[rows].astype(np.float64)).auc(positive, negative)
    areas = areas[~np.isnan(areas)]
    if len(areas) < FEWEST:
        return
    strength = float(max(areas.mean(), 1 - areas.mean()))
    least = ORDER_AUC if train.record == "request" else ORDER_LEAK
    if strength >= least:
        where = "first" if areas.mean() > 0.5 else "last"
        grade: Grade = "leak" if train.record == "request" and strength >= ORDER_LEAK else "warning"
        what = "candidates" if train.record == "request" else "rows"
        message = f"clicks stand {where} among the {what} of their requests: AUC {strength:.3f} of the place"
        yield Finding("candidate_order", grade, "", f"{message}, in {len(areas):,} requests", strength, least)


def _ranks(numbers: np.ndarray) -> np.ndarray:
    """The rank of each number, ties in the middle; of missing ones the highest."""
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[place.reshape(-1)])


def row_text(table: Table, example: int) -> str:
    """An example for people: its user, item and time."""
    names = (USER_ID, ITEM_ID, "timestamp")
    return ", ".join(f"{name} {table.columns[name].text(example)}" for name in names if name in table.columns)


def _day(seconds: int) -> str:
    return _minute(seconds).partition(" ")[0]


def _minute(seconds: int) -> str:
    # What lies beyond the year 9999 has no date.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds <= _LAST else str(seconds)
