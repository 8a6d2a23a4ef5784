"""Writes raw files of RecFlow's layout, for tests and speed measurements: the format, not the data."""

import os
import pickle
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from transforms.arrow import feather, pa
from transforms.files import replacing_file
from transforms.portable_math import sigmoid
from transforms.portable_random import normal
from transforms.sources.recflow.schema import (
    ALL_STAGE,
    FEEDBACK,
    HISTORIES,
    HISTORY_COLUMNS,
    HISTORY_LENGTH,
    ID_COUNTS,
    ITEM_IDS,
    ITEM_NUMBERS,
    KEYS,
    RANKS,
    REALSHOW,
    STAGES,
    USER_IDS,
    UTC_OFFSET,
)

COLUMNS = (
    *("request_id", "request_timestamp", "user_id", *USER_IDS, "video_id", *ITEM_IDS, *ITEM_NUMBERS),
    *("realshow", "rerank_pos", "rerank_neg", "rank_pos", "rank_neg", "coarse_neg", "prerank_neg"),
    *(*RANKS, "playing_time", *FEEDBACK),
)
"""Columns of a feather file, in the order of the data set's description; all of them integers."""
STAGE_COLUMNS = (
    "video_id", "author_id", "duration", "category_level_two", "upload_type", "upload_timestamp",
    "category_level_one", "effective_view",
)  # fmt: skip
"""Columns of an array of `request_id_dict`."""

_USERS, _VIDEOS, _AUTHORS = 500, 20_000, 2_000
_COUNTS = {
    "user_id": _USERS, "device_id": _USERS, "age": 8, "gender": 3, "province": 35, "photo_id": _VIDEOS,
    "author_id": _AUTHORS, "category_level_one": 2, "category_level_two": 40, "upload_type": 30,
}  # fmt: skip
_LEFT = {"shown": 6, "rerank": 10, "rank": 25, "coarse": 15, "prerank": 14}
"""Items of a request by where they end: shown, and left out by each stage."""
ITEMS_PER_REQUEST = sum(_LEFT.values())

Rows = dict[str, np.ndarray]


def write_recflow_like(
    folder: str | os.PathLike[str], days: Sequence[str], requests_per_day: int, seed: int = 0
) -> None:
    """Writes a folder in RecFlow's layout with 70 items a request, 6 of them shown, that a model can learn from.

    Written: `all_stage`, `realshow`, `seq_effective_50_dict`, `request_id_dict` and `others/id_cnt.pkl`.

    Args:
      folder: made where it is missing.
      days: e.g. `["2024-01-13"]`.
      requests_per_day: 1 or more.
      seed: equal seeds, days and requests give equal files.
    """
    world = np.random.default_rng([seed, 0])
    videos = _videos(world)
    tastes = normal(world, (_USERS, 8))
    views: dict[int, list[list[int]]] = {user: [] for user in range(_USERS)}
    for number, day in enumerate(days):
        rng = np.random.default_rng([seed, 1, number])
        rows = _day(day, number * requests_per_day, requests_per_day, videos, tastes, rng)
        write_feather(Path(folder) / ALL_STAGE / f"{day}.feather", rows)
        shown = rows["realshow"] == 1
        write_feather(Path(folder) / REALSHOW / f"{day}.feather", {name: rows[name][shown] for name in rows})
        write_pickle(Path(folder) / HISTORIES / f"{day}.pkl", _histories(rows, views))
        write_pickle(Path(folder) / "request_id_dict" / f"{day}.pkl", _by_stage(rows))
    write_pickle(Path(folder) / ID_COUNTS, _COUNTS)


def write_feather(path: Path, rows: Rows) -> None:
    """Writes columns as a feather file, whole or not at all."""
    with replacing_file(path) as temporary:
        feather.write_feather(pa.table(dict(rows)), str(temporary))


def write_pickle(path: Path, content: object) -> None:
    """Writes a pickle, whole or not at all."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(pickle.dumps(content, protocol=4))


def days_from(first: str, count: int) -> list[str]:
    """So many days from `first` on."""
    return [(date.fromisoformat(first) + timedelta(days=i)).isoformat() for i in range(count)]


def _videos(rng: np.random.Generator) -> Rows:
    author = rng.integers(0, _AUTHORS, _VIDEOS)
    return {
        "video_id": np.arange(_VIDEOS),
        "author_id": author,
        "category_level_one": rng.integers(0, 3, _VIDEOS),
        "category_level_two": author % 40,
        "upload_type": rng.integers(0, 30, _VIDEOS),
        "upload_timestamp": 1_704_000_000 + rng.integers(0, 1_000_000, _VIDEOS),
        "duration": rng.integers(5_000, 120_000, _VIDEOS),
        "quality": normal(rng, _VIDEOS),
    }


def _day(day: str, first: int, requests: int, videos: Rows, tastes: np.ndarray, rng: np.random.Generator) -> Rows:
    midnight = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) - UTC_OFFSET
    user = rng.integers(0, _USERS, requests)
    times = np.sort(rng.integers(0, 86_400_000, requests)) + midnight * 1000
    # Distinct within a request: a step that shares no factor with the number of videos.
    start = rng.integers(0, _VIDEOS, requests)[:, None]
    video = (start + 7 * np.arange(ITEMS_PER_REQUEST)) % _VIDEOS
    match = tastes[user[:, None], videos["category_level_two"][video] % 8] + videos["quality"][video]
    order = np.argsort(-(match + normal(rng, match.shape)), axis=1, kind="stable")
    rank = np.argsort(order, axis=1).ravel()
    ends = np.cumsum(list(_LEFT.values()))
    shown, reranked, ranked, coarse = (rank < end for end in ends[:4])
    clicked = shown & (rng.random(rank.shape) < sigmoid(match.ravel() - 1.0))
    owner = np.repeat(np.arange(requests), ITEMS_PER_REQUEST)
    flat = video.ravel()
    rows: Rows = {
        "request_id": 1_000_000 + first + owner,
        "request_timestamp": times[owner],
        "user_id": user[owner],
        "device_id": user[owner],
        "age": user[owner] % 8,
        "gender": user[owner] % 3,
        "province": user[owner] % 35,
        **{name: videos[name][flat] for name in ("video_id", *ITEM_IDS, *ITEM_NUMBERS)},
        "realshow": shown,
        "rerank_pos": rank < 10,
        "rerank_neg": reranked & (rank >= 10),
        "rank_pos": rank < 10,
        "rank_neg": ranked & (rank >= 10),
        "coarse_neg": coarse & ~ranked,
        "prerank_neg": ~coarse,
        "rank_index": np.where(ranked, rank, -1),
        "rerank_index": np.where(reranked, rank, -1),
        "playing_time": np.where(shown, 1000 + 30_000 * clicked, 0),
        **{name: clicked if name in ("effective_view", "long_view") else 0 * clicked for name in FEEDBACK},
    }
    return {name: rows[name].astype(np.int64) for name in COLUMNS}


def _histories(rows: Rows, views: dict[int, list[list[int]]]) -> dict[int, np.ndarray]:
    """Each request's last effective views; `views` of each user are carried from day to day."""
    starts = np.flatnonzero(np.diff(rows["request_id"], prepend=-1))
    histories = {}
    for start, stop in zip(starts, np.append(starts[1:], len(rows["request_id"])), strict=True):
        request, time, user = (int(rows[name][start]) for name in KEYS[:3])
        # Padding of category_level_one is 2, of all else 0.
        array = np.zeros((HISTORY_LENGTH, len(HISTORY_COLUMNS)), np.int64)
        array[:, HISTORY_COLUMNS.index("category_level_one")] = 2
        past = views[user][-HISTORY_LENGTH:]
        if past:
            array[-len(past) :] = past
        histories[request] = array
        for index in start + np.flatnonzero(rows["effective_view"][start:stop]):
            values = {name: int(rows[name][index]) for name in HISTORY_COLUMNS if name != "time_ms"}
            views[user].append([({"time_ms": time} | values)[name] for name in HISTORY_COLUMNS])
    return histories


def _by_stage(rows: Rows) -> dict[int, dict[str, np.ndarray]]:
    starts = np.flatnonzero(np.diff(rows["request_id"], prepend=-1))
    table = np.stack([rows[name] for name in STAGE_COLUMNS], axis=1)
    found = {}
    for start, stop in zip(starts, np.append(starts[1:], len(table)), strict=True):
        found[int(rows["request_id"][start])] = {
            stage: table[start:stop][rows[stage][start:stop] == 1] for stage in STAGES
        }
    return found
