"""A small log by column in which the audit finds nothing, for tests that spoil it."""

from typing import Any

import numpy as np

from runs.audit.faults import faults
from runs.audit.findings import Finding
from runs.audit.label_counts import label_counts
from runs.audit.leaks import leaks
from runs.audit.splits import splits
from runs.audit.table import Table, Values, strings, table_of
from transforms.features import SPLITS, Column, Feature, FeatureSet

NOW = 1_800_000_000.0
FIRST = 1_700_000_000
DAY = 86_400

Log = dict[str, Any]

FEATURES = FeatureSet(
    columns=(
        Column(name="price", dtype="float", entity="item"),
        Column(name="shop", dtype="string", entity="item"),
        Column(name="visits", dtype="int64", entity="user"),
        Column(name="history", dtype="string", entity="user", variable_length=True),
        Column(name="embedding", dtype="float", entity="item", width=3),
        Column(name="position", dtype="int64", entity="item", model_input=False),
    ),
    features=(
        Feature(name="user_id", encoding="id"),
        Feature(name="item_id", encoding="id", vocabulary="items"),
        Feature(name="history", encoding="id", vocabulary="items"),
        Feature(name="hour", column="timestamp", encoding="hour_of_day"),
        Feature(name="price", encoding="zscore"),
        Feature(name="shop", encoding="id"),
        Feature(name="visits", encoding="quantile"),
        Feature(name="embedding", encoding="vector"),
    ),
)


def log(n: int = 6000, seed: int = 0, start: int = FIRST) -> Log:
    """Columns of n events in 20 days: labels depend on item and price, histories and counts stand before the event."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 150, n), rng.integers(0, 60, n)
    price = np.round(rng.lognormal(2, 1, n), 2)
    logit = np.sin(item) * 1.2 - 1.5 - 0.3 * np.log(price)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    time = start + np.sort(rng.integers(0, 20 * DAY, n))
    clicked: dict[int, list[bytes]] = {}
    histories, visits = [], []
    seen: dict[int, int] = {}
    for u, i, y in zip(user, item, label):
        histories.append(list(clicked.get(u, []))[-10:])
        visits.append(seen.get(u, 0))
        seen[u] = seen.get(u, 0) + 1
        if y:
            clicked.setdefault(u, []).append(b"i%d" % i)
    return {
        "split": np.where(np.arange(n) < 0.8 * n, 0, np.where(np.arange(n) < 0.9 * n, 1, 2)),
        "request_id": [b"r%d" % (r // 4) for r in range(n)],
        "user_id": [b"u%d" % u for u in user],
        "item_id": [b"i%d" % i for i in item],
        "timestamp": time,
        "label": label,
        "price": price.astype(np.float32),
        "shop": [b"s%d" % (i % 7) for i in item],
        "visits": np.array(visits),
        "history": histories,
        "embedding": rng.normal(0, 1, (n, 3)).astype(np.float32),
        "position": rng.integers(1, 9, n),
    }


def later(seed: int = 5) -> Log:
    """The events of the 20 days after those of `log()`."""
    return log(seed=seed, start=FIRST + 20 * DAY)


def table(columns: Log, features: FeatureSet = FEATURES) -> Table:
    """The columns as an audit reads them."""
    values = {name: _values(column) for name, column in columns.items() if name != "split"}
    return table_of(values, np.asarray(columns["split"]), features)


def taken(columns: Log, rows: np.ndarray) -> Log:
    """Some rows, by index, in that order."""
    return {
        name: column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        for name, column in columns.items()
    }


def audited(columns: Log) -> list[Finding]:
    """The findings of all checks."""
    rows = table(columns)
    return [*faults(rows, SPLITS, NOW), *splits(rows), *leaks(rows.of("train")), *label_counts(rows)]


def found(columns: Log, grades: tuple[str, ...] = ("leak", "error", "warning")) -> set[str]:
    """The names of the findings of some grades."""
    return {finding.key for finding in audited(columns) if finding.grade in grades}


def y_of(columns: Log) -> np.ndarray:
    """True where the label is positive."""
    return np.asarray(columns["label"] > 0)


def _values(column: Any) -> Values:
    if isinstance(column, np.ndarray) and column.ndim == 1:
        return Values(column)
    if isinstance(column, np.ndarray):
        lengths = np.full(len(column), column.shape[1])
        return Values(column.reshape(-1), None, np.arange(len(column)) * column.shape[1], lengths)
    if isinstance(column[0], bytes):
        return strings(column)
    flat = strings([one for values in column for one in values])
    lengths = np.array([len(values) for values in column])
    return Values(flat.values, flat.tokens, np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
