"""Reads KuaiRand: videos shown as rows, clicked videos as histories."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.features import LABEL
from transforms.sources.base import RANDOM_EXPOSURE
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
    STATISTIC_NUMBERS,
    STATISTIC_PREFIX,
    STATISTIC_TABLE,
    STATISTICS,
    TAGS,
    USER_IDS,
    USER_NUMBERS,
    USER_TABLE,
    USERS,
    UTC_OFFSET_MS,
    VERSIONS,
    VIDEO_IDS,
    VIDEO_NUMBERS,
    VIDEO_TABLE,
    VIDEOS,
    Kuairand,
    KuairandOptions,
)
from transforms.sources.options import existing_folder, required_file
from transforms.sources.point_in_time.plan import KNOWN, RECORD, TIME, History, Join
from transforms.sources.point_in_time.splits import ByTime, Starts, TimeCounts, checked_starts
from transforms.sources.text_log import Columns, ReadTextLog, TextFiles, all_fields
from transforms.sources.text_table import Converted, TextRows, check_text, token_columns

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


def _videos(rows: TextRows) -> Columns:
    columns = dict(all_fields(rows))
    columns |= zip(TAGS, token_columns(columns.pop("tag"), ",", len(TAGS)), strict=True)
    return {**columns, UPLOAD_DAY: _days(columns.pop("upload_dt"))}


def _statistics(rows: TextRows) -> Columns:
    named = {STATISTIC_PREFIX + name: rows.values(name) for name in STATISTIC_NUMBERS}
    return {"video_id": rows.values("video_id"), **named}


def _shown(rows: TextRows, label: str, are_records: bool) -> Columns:
    """Videos shown; times are in milliseconds."""
    fields = {name: rows.integers(name) for name in LOG.fields}
    times = fields["time_ms"]
    outside = (times < midnight_ms(FIRST_DAY) - DAY_MS) | (times >= midnight_ms(LAST_DAY) + 2 * DAY_MS)
    rows.refuse(outside, "time_ms", f"milliseconds of {FIRST_DAY} to {LAST_DAY}, or of a day beside them")
    return {
        "user_id": fields["user_id"],
        "item_id": fields["video_id"],
        TIME: times,
        KNOWN: times + fields["play_time_ms"],
        LABEL: fields[label].astype(np.float32),
        "clicked": fields["is_click"] == 1,
        "tab": fields["tab"],
        "is_rand": fields["is_rand"],
        RECORD: np.full(len(rows), are_records),
    }


def _starts(times: TimeCounts, options: KuairandOptions, where: str) -> Starts:
    if options.logs == "random":
        return 0, 0
    if options.splits == "files":
        last = (times.last + UTC_OFFSET_MS) // DAY_MS * DAY_MS - UTC_OFFSET_MS
        return checked_starts(times, (last - DAY_MS, last), where, "give three days or more")
    starts = midnight_ms(EVAL_DAY), midnight_ms(LAST_DAY)
    return checked_starts(times, starts, where, "choose splits=files, or get the whole logs")


def _with_local_times(rows: pa.Table) -> pa.Table:
    """Times in seconds, and the age of videos in days of China."""
    times = rows[TIME].to_numpy()
    local = times + UTC_OFFSET_MS
    # A video without a day of upload has none; clocks differ, so that one can seem younger than nothing.
    age = np.maximum(local // DAY_MS - rows[UPLOAD_DAY].cast(pa.float32()).to_numpy(), 0)
    rows = rows.set_column(rows.schema.get_field_index(TIME), TIME, pa.array(times // 1000))
    rows = rows.append_column("local_time", pa.array(local // 1000))
    return rows.append_column("video_age_days", pa.array(age.astype(np.float32)))


def read(input_dir: str | os.PathLike[str], options: KuairandOptions) -> ReadTextLog:
    """Returns the Beam transform that reads a folder."""
    files, random = find_files(input_dir, options), options.logs == "random"
    standard = TextFiles(files.standard, LOG, partial(_shown, label=options.label, are_records=not random))
    logs = [
        standard,
        *([TextFiles(files.random, LOG, partial(_shown, label=options.label, are_records=True))] if random else []),
    ]
    users = TextFiles([files.users], USER_TABLE)
    tables = {"users": users, "videos": TextFiles([files.videos], VIDEO_TABLE, _videos)}
    columns = {"videos": (*VIDEO_IDS, *VIDEO_NUMBERS, *TAGS, UPLOAD_DAY)}
    if files.statistics:
        tables["statistics"] = TextFiles(files.statistics, STATISTIC_TABLE, _statistics)
        columns["statistics"] = tuple(STATISTIC_PREFIX + name for name in STATISTIC_NUMBERS)
    length = options.history_length
    return ReadTextLog(
        logs,
        tables,
        [
            *(
                Join(name, ("item_id",), added, ("video_id",), place=tables[name].place)
                for name, added in columns.items()
            ),
            Join("users", ("user_id",), (*USER_IDS, *USER_NUMBERS), ("user_id",), place=users.place),
            History("history_item_id", "item_id", where="clicked", last=length),
            History("history_author_id", "author_id", where="clicked", last=length),
        ],
        ByTime(partial(_starts, options=options, where=str(files.standard[0].parent))),
        Kuairand(options).feature_set(),
        _with_local_times,
    )


def origin(input_dir: str | os.PathLike[str], options: KuairandOptions) -> dict[str, Any]:
    """Returns the version of the data set, the names of the files, and the splits of videos put in at random."""
    files = find_files(input_dir, options)
    at_random = {RANDOM_EXPOSURE: ["test"]} if options.logs == "random" else {}
    return {"version": files.version, "files": [path.name for path in files.all], **at_random}
