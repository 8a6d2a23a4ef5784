"""KuaiRand's raw files: which version a folder holds, and what its tables say of users and videos."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.sources.kuairand_options import (
    FIRST_STANDARD,
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
from transforms.sources.row_options import existing_folder, required_file
from transforms.sources.text_table import Converted, check_text, token_columns

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


def check_files(input_dir: str | os.PathLike[str], options: KuairandOptions) -> None:
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
