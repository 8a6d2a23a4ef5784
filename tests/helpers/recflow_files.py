"""Hand-made RecFlow folders of a few rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.recflow_like import COLUMNS, days_from, write_feather, write_pickle
from transforms.sources.recflow.schema import STAGES

DAY = "2024-02-01"


def moment(day: str, clock: str) -> int:
    """Milliseconds of a time of day in China, e.g. `00:30`."""
    return int(datetime.fromisoformat(f"{day}T{clock}:00+08:00").astimezone(UTC).timestamp()) * 1000


def raw_row(
    request: int, video: int, *stages: str, day: str = DAY, clock: str = "12:00", **fields: int
) -> dict[str, int]:
    """A row of a feather file: the flags `stages` are 1; `fields` replace what is made up."""
    row = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(stages, 1)
    row |= {"request_id": request, "request_timestamp": moment(day, clock), "video_id": video}
    row |= {"user_id": request % 10, "device_id": request % 10 + 100, "author_id": video + 500}
    return row | {"duration": 1000 + video, "upload_timestamp": moment(day, "00:00") // 1000 - 3600} | fields


def history(*views: tuple[int, int], rows: int = 50) -> np.ndarray:
    """A history array of `(video, milliseconds)`, padded on the left."""
    array = np.zeros((rows, 10), np.int64)
    array[:, 3] = 2
    for place, (video, time) in enumerate(views, rows - len(views)):
        array[place] = [video, video + 500, 7, 1, 0, 1, 2, time, 3, 4]
    return array


def write_day(folder: Path, day: str, rows: Sequence[dict[str, Any]], histories: dict[int, Any] | None = None) -> None:
    """Writes one day of `all_stage`, `realshow` and `seq_effective_50_dict`; histories are empty by default."""
    columns = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
    shown = columns["realshow"] == 1
    write_feather(folder / "all_stage" / f"{day}.feather", columns)
    write_feather(folder / "realshow" / f"{day}.feather", {name: columns[name][shown] for name in columns})
    given = {int(request): history() for request in columns["request_id"]} | (histories or {})
    write_pickle(folder / "seq_effective_50_dict" / f"{day}.pkl", given)


def write_days(folder: Path, rows: Sequence[dict[str, Any]], histories: dict[int, Any] | None = None) -> None:
    """Writes `rows` as the first of three days; the other two hold one request each."""
    write_day(folder, DAY, rows, histories)
    for number, day in enumerate(days_from(DAY, 3)[1:]):
        stages = list(STAGES)[:: len(STAGES) - 1]
        write_day(folder, day, [raw_row(9000 + number, 1 + i, stage, day=day) for i, stage in enumerate(stages)])
