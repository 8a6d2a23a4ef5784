"""Writes raw files of KuaiRand's layout, for tests: the format, not the data."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from transforms.files import write_text
from transforms.portable_math import dot, sigmoid
from transforms.portable_random import normal
from transforms.sources.kuairand.read import midnight_ms
from transforms.sources.kuairand.schema import (
    DAY_MS,
    FIRST_DAY,
    FIRST_STANDARD,
    PARTS,
    RANDOM,
    SECOND_STANDARD,
    STATISTIC_NUMBERS,
    STATISTICS,
    UTC_OFFSET_MS,
    VIDEOS,
)

LOG_COLUMNS = (
    "user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "is_comment",
    "is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time",
    "is_profile_enter", "is_rand", "tab",
)  # fmt: skip
USER_COLUMNS = (
    "user_id", "user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author", "follow_user_num",
    "follow_user_num_range", "fans_user_num", "fans_user_num_range", "friend_user_num", "friend_user_num_range",
    "register_days", "register_days_range", *(f"onehot_feat{number}" for number in range(18)),
)  # fmt: skip
VIDEO_COLUMNS = (
    "video_id", "author_id", "video_type", "upload_dt", "upload_type", "visible_status", "video_duration",
    "server_width", "server_height", "music_id", "music_type", "tag",
)  # fmt: skip
"""Columns of the files in their order, as the data set's description has them."""
_FIRST_LOG_DAYS, _DAYS = 14, 31

Lines = Sequence[Sequence[object]]


def write_kuairand_like(
    folder: str | os.PathLike[str],
    users: int,
    videos: int,
    shown: int,
    version: Literal["pure", "1k", "27k"] = "pure",
    seed: int = 0,
) -> None:
    """Writes every file of one version; clicks follow latent tastes, so that a model can learn them.

    Args:
      folder: made where it is missing.
      users, videos: how many there are.
      shown: videos shown to each user by the recommenders over all days; a tenth as many at random.
      version: of the names; 27k has some files in parts.
      seed: equal arguments give equal files.
    """
    rng = np.random.default_rng(seed)
    match = dot(normal(rng, (4, users, 1)), normal(rng, (4, 1, videos))) / 2 + 0.5 * normal(rng, videos)
    standard = _log(match, np.arange(shown * users) * _DAYS * DAY_MS // (shown * users), rng, at_random=False)
    second = _FIRST_LOG_DAYS * DAY_MS
    count = max(shown // 10, 1) * users
    drawn = _log(match, second + np.sort(rng.integers(0, _DAYS * DAY_MS - second, count)), rng, at_random=True)
    border = str(midnight_ms(FIRST_DAY) + second)
    time = LOG_COLUMNS.index("time_ms")
    early = [row for row in standard if str(row[time]) < border]
    for stem, rows in ((FIRST_STANDARD, early), (SECOND_STANDARD, standard[len(early) :]), (RANDOM, drawn)):
        write_kuairand_table(Path(folder), stem, version, LOG_COLUMNS, rows)
    write_kuairand_table(Path(folder), "user_features", version, USER_COLUMNS, [_user(user) for user in range(users)])
    write_kuairand_table(Path(folder), VIDEOS, version, VIDEO_COLUMNS, [_video(video) for video in range(videos)])
    means = [[video, *np.round(rng.random(len(STATISTIC_NUMBERS)) * 9, 3)] for video in range(videos)]
    write_kuairand_table(Path(folder), STATISTICS, version, ("video_id", *STATISTIC_NUMBERS), means)


def write_kuairand_table(folder: Path, stem: str, version: str, columns: Sequence[str], rows: Lines) -> None:
    """Writes one table, in parts where `version` has it so."""
    parts = PARTS.get(stem, 1) if version == "27k" else 1
    for number in range(parts):
        suffix = f"_part{number + 1}" if parts > 1 else ""
        own = rows[len(rows) * number // parts : len(rows) * (number + 1) // parts]
        lines = [",".join(columns), *(",".join(map(str, row)) for row in own)]
        write_text(folder / f"{stem}_{version}{suffix}.csv", "\n".join(lines) + "\n")


def _log(match: np.ndarray, times: np.ndarray, rng: np.random.Generator, at_random: bool) -> list[list[int]]:
    users, videos = match.shape
    rows = []
    for number, time in enumerate((midnight_ms(FIRST_DAY) + times).tolist()):
        user = number % users if not at_random else int(rng.integers(users))
        choice = rng.integers(0, videos, 1 if at_random else 3)
        video = int(choice[np.argmax(match[user, choice])])
        clicked = int(rng.random() < sigmoid(match[user, video]))
        moment = np.datetime64(time + UTC_OFFSET_MS, "ms").astype(str)
        row = dict.fromkeys(LOG_COLUMNS, 0) | {"user_id": user, "video_id": video, "time_ms": time}
        row |= {"date": int(moment[:10].replace("-", "")), "hourmin": int(moment[11:13]) * 100, "is_click": clicked}
        row |= {"long_view": clicked * (number % 2), "play_time_ms": 9_000 * clicked, "duration_ms": 20_000}
        rows.append(list((row | {"is_like": clicked * (number % 5 == 0), "is_rand": int(at_random)}).values()))
    return rows


def _user(user: int) -> list[object]:
    degree = ("full_active", "high_active", "UNKNOWN")[user % 3]
    counts = [user % 90, '"(50,100]"', user % 40, '"[10,100)"', user % 20, '"[5,30)"', 100 + user, "91-180"]
    # Columns with gaps hold floats in the real files.
    codes = [f"{user % 2}.0" if number == 4 or number > 11 else user % (number + 2) for number in range(18)]
    return [user, degree, 0, -124 if user % 7 == 0 else 0, user % 2, *counts, *codes]


def _video(video: int) -> list[object]:
    tag = ("39", '"20,43"', "")[video % 3]
    duration = "" if video % 11 == 0 else f"{10_000 + video}.0"
    day = f"2022-04-{1 + video % 7:02d}"
    return [video, video // 2, "NORMAL", day, "Web", "0.0", duration, "720.0", "1280.0", video % 50, "9.0", tag]
