"""Reads KuaiRand: videos shown as rows, clicked videos as histories."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pa, pc
from transforms.batches import Ragged, Values
from transforms.errors import InputError
from transforms.features import LABEL
from transforms.sources.events_before import MILLISECOND_BITS, Histories
from transforms.sources.kuairand.schema import (
    DAY_MS,
    EVAL_DAY,
    FIRST_DAY,
    FIRST_STANDARD,
    LAST_DAY,
    LOG,
    PARTS,
    RANDOM,
    SECOND_STANDARD,
    STATISTIC_PREFIX,
    STATISTIC_TABLE,
    STATISTICS,
    TAGS,
    USER_TABLE,
    USERS,
    UTC_OFFSET_MS,
    VERSIONS,
    VIDEO_TABLE,
    VIDEOS,
    KuairandOptions,
)
from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.options import existing_folder, required_file
from transforms.sources.text_table import Converted, TextRows, check_text, text_rows, token_columns
from transforms.sources.user_rows import (
    ReadUserRows,
    Rows,
    ToColumns,
    Types,
    UserRowReader,
    UserSpread,
    checked_starts,
    request_ids,
)

UPLOAD_DAY = "upload_day"
_EXPECTED = "the csv files of KuaiRand, e.g. user_features_pure.csv and the logs beside it"
_VERSION = re.compile(rf"_({'|'.join(VERSIONS)})(?:_part[0-9])?\.csv")


@dataclass(frozen=True)
class KuairandFiles:
    """Where the files are that an import reads."""

    version: str
    standard: list[Path]
    random: list[Path]
    users: Path
    videos: Path
    statistics: list[Path]

    @property
    def logs(self) -> list[Path]:
        """All logs, in order."""
        return self.standard + self.random

    @property
    def all(self) -> list[Path]:
        """All files, logs first."""
        return [*self.logs, self.users, self.videos, *self.statistics]


def find_files(input_dir: str | os.PathLike[str], options: KuairandOptions) -> KuairandFiles:
    """The files of a folder that an import with these options reads.

    Raises:
      InputError: none is of KuaiRand, some are of another version, or one is missing.
    """
    folder = existing_folder(input_dir, _EXPECTED)
    version = _version(folder, options)
    return KuairandFiles(
        version=version,
        standard=[path for stem in (FIRST_STANDARD, SECOND_STANDARD) for path in _located(folder, stem, version)],
        random=_located(folder, RANDOM, version) if options.logs == "random" else [],
        users=_located(folder, USERS, version)[0],
        videos=_located(folder, VIDEOS, version)[0],
        statistics=_located(folder, STATISTICS, version) if options.statistics else [],
    )


def check(input_dir: str | os.PathLike[str], options: KuairandOptions) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir, options)
    formats = dict.fromkeys(files.logs, LOG) | dict.fromkeys(files.statistics, STATISTIC_TABLE)
    for path, text_format in (formats | {files.users: USER_TABLE, files.videos: VIDEO_TABLE}).items():
        check_text(path, text_format)


def read_users(path: Path) -> MemberTable:
    """What is known of users.

    Raises:
      InputError: a line is malformed.
    """
    return MemberTable(*read_members(path, USER_TABLE, "user_id"))


def read_videos(files: KuairandFiles) -> list[MemberTable]:
    """What is known of videos: the basic table, and each part of the statistics in one.

    Raises:
      InputError: a line is malformed.
    """
    ids, columns = read_members(files.videos, VIDEO_TABLE, "video_id")
    tags, days = columns.pop("tag"), columns.pop("upload_dt")
    columns |= zip(TAGS, token_columns(tags, ",", len(TAGS)), strict=True)
    columns[UPLOAD_DAY] = _days(days)
    tables = [MemberTable(ids, columns)]
    if files.statistics:
        parts = [read_members(path, STATISTIC_TABLE, "video_id") for path in files.statistics]
        names = [name for name in STATISTIC_TABLE.fields if name != "video_id"]
        joined = {STATISTIC_PREFIX + name: np.concatenate([part[name] for _, part in parts]) for name in names}
        tables.append(MemberTable(np.concatenate([found for found, _ in parts]), joined))
    return tables


def midnight_ms(day: str) -> int:
    """The first millisecond of a day of China."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000 - UTC_OFFSET_MS


def _version(folder: Path, options: KuairandOptions) -> str:
    if options.version != "found":
        return options.version
    names = sorted(path.name for path in folder.iterdir())
    versions = sorted({match[1] for match in map(_VERSION.search, names) if match})
    if len(versions) == 1:
        return versions[0]
    if versions:
        received, fix = f"files of versions {' and '.join(versions)}", f"choose version={versions[0]}, say"
    else:
        received = ", ".join(names[:12]) or "an empty directory"
        fix = "unpack the data set and give its folder `data` as --input"
    raise InputError(str(folder), received, _EXPECTED, fix)


def _located(folder: Path, stem: str, version: str) -> list[Path]:
    whole = f"{stem}_{version}.csv"
    if version != "27k" or stem not in PARTS or (folder / whole).is_file():
        return [required_file(folder, [whole], f"{whole}, as KuaiRand-{version} has it")]
    names = [f"{stem}_{version}_part{number}.csv" for number in range(1, PARTS[stem] + 1)]
    return [required_file(folder, [name], " and ".join(names)) for name in names]


def _days(texts: Converted) -> np.ndarray:
    """Days since 1970, NaN where there is no such day."""
    moments = pc.strptime(texts, format="%Y-%m-%d", unit="s", error_is_null=True)
    seconds: np.ndarray = moments.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float32)
    return seconds / np.float32(86_400)


_EVENT: Types = {"user": "int64", "time": "int64", "item": "int64"}
_ROW: Types = {**_EVENT, "file": "int64", "line": "int64", "label": "int64", "tab": "int64", "is_rand": "int64"}


class KuairandReader(UserRowReader):
    """Reads a folder.

    Args:
      options: as of the import.
    """

    tables = {"row": _ROW, "event": _EVENT}

    def __init__(self, options: KuairandOptions):
        self._options = options

    def raw_bytes(self, input_dir: str) -> int:
        return sum(path.stat().st_size for path in find_files(input_dir, self._options).logs)

    def spread(self, input_dir: str, spread: UserSpread) -> tuple[int, int]:
        files = find_files(input_dir, self._options)
        self._users, self._videos = read_users(files.users), read_videos(files)
        for number, path in enumerate(files.logs):
            wanted = (path in files.random) == (self._options.logs == "random")
            for rows in text_rows(path, LOG):
                self._add(rows, number if wanted else None, spread)
        return self._starts(files, spread)

    def _add(self, rows: TextRows, number: int | None, spread: UserSpread) -> None:
        """Adds the clicks to the events and, with a file's number, all rows to the rows."""
        found = {name: rows.integers(name) for name in LOG.fields}
        time = found["time_ms"]
        outside = (time < midnight_ms(FIRST_DAY) - DAY_MS) | (time >= midnight_ms(LAST_DAY) + 2 * DAY_MS)
        rows.refuse(outside, "time_ms", f"milliseconds of {FIRST_DAY} to {LAST_DAY}, or of a day beside them")
        columns = {"user": found["user_id"], "time": time, "item": found["video_id"]}
        clicked = found["is_click"] == 1
        # However long a play is said to be, its end must fit; it is after all rows then.
        known = np.minimum(time + found["play_time_ms"], (1 << MILLISECOND_BITS) - 1)
        events = columns | {"time": known}
        spread.add("event", {name: values[clicked] for name, values in events.items()})
        if number is not None:
            places = {"file": np.full(len(rows), number), "line": rows.lines, "label": found[self._options.label]}
            spread.add("row", {**columns, **places, "tab": found["tab"], "is_rand": found["is_rand"]})

    def _starts(self, files: KuairandFiles, spread: UserSpread) -> tuple[int, int]:
        if self._options.logs == "random":
            return 0, 0
        span, fix = spread.time_range("row"), "choose splits=files, or get the whole logs"
        starts = midnight_ms(EVAL_DAY), midnight_ms(LAST_DAY)
        if self._options.splits == "files" and span is not None:
            last = (span[1] + UTC_OFFSET_MS) // DAY_MS * DAY_MS - UTC_OFFSET_MS
            starts, fix = (last - DAY_MS, last), "give three days or more"
        return checked_starts(span, starts, str(files.standard[0].parent), fix)

    def columns_of(self, events: Rows) -> ToColumns:
        histories = Histories(events["user"], events["time"], {"item": events["item"]}, MILLISECOND_BITS)

        def columns(rows: Rows) -> dict[str, Values]:
            clicked = histories.before(rows["user"], rows["time"], self._options.history_length)["item"]
            videos = np.asarray(clicked.values)
            authors = self._videos[0].at(videos, ["author_id"])["author_id"]
            local = rows["time"] + UTC_OFFSET_MS
            found = {name: values for table in self._videos for name, values in table.at(rows["item"]).items()}
            # A video without a day of upload has none; clocks differ, so that one can seem younger than nothing.
            age = np.maximum(local // DAY_MS - found.pop(UPLOAD_DAY), 0)
            return {
                "request_id": request_ids(rows),
                "user_id": rows["user"].astype("S"),
                "item_id": rows["item"].astype("S"),
                "timestamp": rows["time"] // 1000,
                LABEL: rows["label"].astype(np.float32),
                "local_time": local // 1000,
                "tab": rows["tab"],
                "is_rand": rows["is_rand"],
                "history_item_id": Ragged(videos.astype("S"), clicked.offsets),
                "history_author_id": Ragged(authors, clicked.offsets),
                **self._users.at(rows["user"]),
                **found,
                "video_age_days": age.astype(np.float32),
            }

        return columns


def read(input_dir: str | os.PathLike[str], options: KuairandOptions) -> ReadUserRows:
    """Returns the Beam transform that reads a folder."""
    return ReadUserRows(input_dir, KuairandReader(options))


def origin(input_dir: str | os.PathLike[str], options: KuairandOptions) -> dict[str, Any]:
    """Returns the version of the data set and the names of the files."""
    files = find_files(input_dir, options)
    return {"version": files.version, "files": [path.name for path in files.all]}
