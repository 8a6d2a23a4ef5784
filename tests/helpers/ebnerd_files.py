"""EB-NeRD's two files with made-up content, and what a plain loop says their records should hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pa, pq

START = 1_684_400_400
"""2023-05-18 09:00:00 UTC: a whole hour."""

BEHAVIORS_SCHEMA = pa.schema(
    {
        "impression_id": pa.uint32(),
        "article_id": pa.int32(),
        "impression_time": pa.timestamp("us"),
        "read_time": pa.float32(),
        "scroll_percentage": pa.float32(),
        "device_type": pa.int8(),
        "article_ids_inview": pa.large_list(pa.int32()),
        "article_ids_clicked": pa.large_list(pa.int32()),
        "user_id": pa.uint32(),
        "is_sso_user": pa.bool_(),
        "gender": pa.int8(),
        "postcode": pa.int8(),
        "age": pa.int8(),
        "is_subscriber": pa.bool_(),
        "session_id": pa.uint32(),
        "next_read_time": pa.float32(),
        "next_scroll_percentage": pa.float32(),
    }
)
HISTORY_SCHEMA = pa.schema(
    {
        "user_id": pa.uint32(),
        "impression_time_fixed": pa.large_list(pa.timestamp("us")),
        "scroll_percentage_fixed": pa.large_list(pa.float32()),
        "article_id_fixed": pa.large_list(pa.int32()),
        "read_time_fixed": pa.large_list(pa.float32()),
    }
)


@dataclass(frozen=True)
class Shown:
    """One list: `second` counts from START."""

    number: int
    second: int
    user: int
    items: tuple[int, ...]
    clicked: tuple[int, ...] = ()
    read_time: float = 10.0
    page: int | None = None

    @property
    def time(self) -> int:
        return START + self.second

    @property
    def click_time(self) -> int:
        return self.time + int(self.read_time)


Reads = Mapping[int, Sequence[tuple[int, int]]]
"""By user: (seconds from START, article), in any order."""


def behaviors_row(shown: Shown) -> dict[str, Any]:
    """The raw row of a list."""
    return {
        "impression_id": shown.number,
        "article_id": shown.page,
        "impression_time": shown.time * 1_000_000,
        "read_time": shown.read_time,
        "device_type": 1 + shown.user % 3,
        "article_ids_inview": list(shown.items),
        "article_ids_clicked": list(shown.clicked),
        "user_id": shown.user,
        "is_sso_user": shown.user % 2 == 0,
        "is_subscriber": shown.user % 5 == 0,
        "session_id": 1,
        "next_read_time": 99.0,
        "next_scroll_percentage": 50.0,
    }


def write_raw(folder: Path, rows: Sequence[Mapping[str, Any]], reads: Reads, row_group_size: int = 64) -> Path:
    """Writes both files."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{name: row.get(name) for name in BEHAVIORS_SCHEMA.names} for row in rows])
    behaviors = pa.table({name: table[name].cast(BEHAVIORS_SCHEMA.field(name).type) for name in table.column_names})
    pq.write_table(behaviors, folder / "behaviors.parquet", row_group_size=row_group_size)
    history = [
        {
            "user_id": user,
            "impression_time_fixed": [(START + second) * 1_000_000 for second, _ in events],
            "scroll_percentage_fixed": [None] * len(events),
            "article_id_fixed": [item for _, item in events],
            "read_time_fixed": [1.0] * len(events),
        }
        for user, events in reads.items()
    ]
    columns = {name: pa.array([row[name] for row in history]) for name in HISTORY_SCHEMA.names}
    casts = {name: column.cast(HISTORY_SCHEMA.field(name).type) for name, column in columns.items()}
    pq.write_table(pa.table(casts), folder / "history.parquet", row_group_size=3)
    return folder


def made_up(lists: int = 150, hours: float = 80.0, users: int = 8, seed: int = 0) -> tuple[list[Shown], Reads]:
    """Lists over `hours` hours, of articles whose ids grow with time, and reads of the days before."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.integers(0, int(hours * 3600), lists))
    seconds[1 :: lists // 10] = seconds[: -1 : lists // 10]  # some lists share a second
    shown = []
    for number, second in enumerate(seconds.tolist()):
        newest = 1000 + second // 1800
        items = tuple(rng.choice(np.arange(newest - 12, newest + 1), rng.integers(2, 7), replace=False).tolist())
        clicked = items[: rng.integers(0, 2)]
        read_time = float(rng.integers(0, 1200))
        page = 1 if rng.random() < 0.3 else None
        shown.append(Shown(number + 1, second, int(rng.integers(1, users)), items, clicked, read_time, page))
    order = rng.permutation(lists)
    reads = {
        user: [(-int(rng.integers(1, 500_000)), int(rng.integers(900, 1000))) for _ in range(user * 3)]
        for user in range(2, users)
    }
    return [shown[index] for index in order], reads


def expected_row(
    shown: Shown, item: int, lists: Sequence[Shown], reads: Reads, bucket_seconds: int = 600, pool_hours: int = 6
) -> dict[str, Any]:
    """What was known of `item` when `shown` was, by plain loops over all events."""
    bucket = shown.time // bucket_seconds
    impressions = [(other.time, other.user, seen) for other in lists for seen in set(other.items)]
    clicks = [(other.click_time, other.user, seen) for other in lists for seen in set(other.clicked)]
    read = [(START + second, user, seen) for user, events in reads.items() for second, seen in events]
    row: dict[str, Any] = {}

    def counted(events: list[tuple[int, int, int]], which: int, hours: int) -> int:
        first = bucket - hours * 3600 // bucket_seconds
        return sum(first <= time // bucket_seconds < bucket for time, _, seen in events if seen == which)

    def rate(which: int, hours: int) -> float:
        return min((counted(clicks, which, hours) + 2.0) / (counted(impressions, which, hours) + 20.0), 1.0)

    for hours in (1, 6, 24):
        row[f"shown_{hours}h"] = counted(impressions, item, hours)
        row[f"clicks_{hours}h"] = counted(clicks, item, hours)
        row[f"ctr_{hours}h"] = rate(item, hours)
    first = bucket - pool_hours * 3600 // bucket_seconds
    pool = sorted({seen for time, _, seen in impressions if first <= time // bucket_seconds < bucket})
    row["pool"] = pool
    row["pool_rank_clicks"] = _rank(counted(clicks, item, 6), [counted(clicks, which, 6) for which in pool])
    row["pool_rank_ctr"] = _rank(rate(item, 6), [rate(which, 6) for which in pool])
    own = [time for time, user, seen in impressions if user == shown.user and seen == item and time < shown.time]
    known = sorted((time, seen) for time, user, seen in clicks + read if user == shown.user and time < shown.time)
    row["times_shown_to_user"] = len(own)
    row["hours_since_shown_to_user"] = (shown.time - max(own)) / 3600 if own else float("nan")
    row["times_read_by_user"] = sum(seen == item for _, seen in known)
    row["history"] = [seen for _, seen in known][-50:]
    row["history_size"] = len(known)
    return row


def without_click(shown: Shown) -> Shown:
    """The same list, not clicked."""
    return replace(shown, clicked=())


def _rank(value: float, pool: list[float]) -> float:
    if not pool:
        return 0.5
    return (sum(other < value for other in pool) + sum(other <= value for other in pool)) / (2 * len(pool))
