"""Reads TaobaoAd: ads shown as rows, behaviours in the shop as histories."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pc
from transforms.batches import Ragged, Values
from transforms.features import LABEL
from transforms.sources.events_before import SECOND_BITS, Histories
from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.options import existing_folder, required_file
from transforms.sources.taobao_ad.schema import (
    AD_TABLE,
    ADS,
    BEHAVIOUR_TABLE,
    BEHAVIOURS,
    EVAL_DAY,
    FIRST_DAY,
    PROFILE_TABLE,
    PROFILES,
    SAMPLE,
    SAMPLE_TABLE,
    TEST_DAY,
    UTC_OFFSET,
    TaobaoAdOptions,
)
from transforms.sources.text_table import check_text, text_rows
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

_EXPECTED = f"{SAMPLE}, {ADS} and {PROFILES}; {BEHAVIOURS} besides for histories"


@dataclass(frozen=True)
class TaobaoAdFiles:
    """Where the files are; `behaviours` is None where there is no such file."""

    sample: Path
    ads: Path
    profiles: Path
    behaviours: Path | None

    @property
    def all(self) -> list[Path]:
        """Those that are there."""
        return [self.sample, self.ads, self.profiles, *([self.behaviours] if self.behaviours else [])]


def find_files(input_dir: str | os.PathLike[str]) -> TaobaoAdFiles:
    """The files of a folder.

    Raises:
      InputError: one of the three that are needed is missing.
    """
    folder = existing_folder(input_dir, _EXPECTED)
    sample, ads, profiles = (required_file(folder, [name], _EXPECTED) for name in (SAMPLE, ADS, PROFILES))
    behaviours = folder / BEHAVIOURS
    return TaobaoAdFiles(sample, ads, profiles, behaviours if behaviours.is_file() else None)


def read_ads(files: TaobaoAdFiles) -> MemberTable:
    """What is known of ads.

    Raises:
      InputError: a line is malformed.
    """
    return MemberTable(*read_members(files.ads, AD_TABLE, "adgroup_id"))


def read_profiles(files: TaobaoAdFiles) -> MemberTable:
    """What is known of users.

    Raises:
      InputError: a line is malformed.
    """
    return MemberTable(*read_members(files.profiles, PROFILE_TABLE, "userid"))


def midnight(day: str) -> int:
    """The first second of a day of China."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) - UTC_OFFSET


_ROW: Types = {
    "user": "int64", "time": "int64", "item": "int64", "file": "int64", "line": "int64", "label": "int64",
    "pid": "string",
}  # fmt: skip
_EVENT: Types = {"user": "int64", "time": "int64", "cate": "int64", "brand": "int64", "btag": "string"}


class TaobaoAdReader(UserRowReader):
    """Reads a folder.

    Args:
      options: as of the import.
    """

    tables = {"row": _ROW, "event": _EVENT}

    def __init__(self, options: TaobaoAdOptions):
        self._options = options

    def raw_bytes(self, input_dir: str) -> int:
        files = find_files(input_dir)
        return sum(path.stat().st_size for path in (files.sample, files.behaviours) if path)

    def spread(self, input_dir: str, spread: UserSpread) -> tuple[int, int]:
        files = find_files(input_dir)
        self._ads, self._profiles = read_ads(files), read_profiles(files)
        _spread_sample(files.sample, spread)
        starts = midnight(EVAL_DAY), midnight(TEST_DAY)
        fix = "get the whole file"
        starts = checked_starts(spread.time_range("row"), starts, str(files.sample), fix)
        if files.behaviours:
            _spread_behaviours(files.behaviours, spread)
        return starts

    def columns_of(self, events: Rows) -> ToColumns:
        told = {f"history_{name}": events[name] for name in ("cate", "brand", "btag")}
        histories = Histories(events["user"], events["time"], told)

        def columns(rows: Rows) -> dict[str, Values]:
            found: dict[str, Ragged] = histories.before(rows["user"], rows["time"], self._options.history_length)
            return {
                "request_id": request_ids(rows),
                "user_id": rows["user"].astype("S"),
                "item_id": rows["item"].astype("S"),
                "timestamp": rows["time"],
                LABEL: rows["label"].astype(np.float32),
                "pid": rows["pid"],
                "local_time": rows["time"] + UTC_OFFSET,
                **found,
                **self._profiles.at(rows["user"]),
                **self._ads.at(rows["item"]),
            }

        return columns


def _spread_sample(path: Path, spread: UserSpread) -> None:
    first, end = midnight(FIRST_DAY), midnight(TEST_DAY) + 86_400
    for rows in text_rows(path, SAMPLE_TABLE):
        time, label = rows.integers("time_stamp"), rows.integers("clk")
        rows.refuse((time < first) | (time >= end), "time_stamp", f"seconds of {FIRST_DAY} to {TEST_DAY} in China")
        rows.refuse(rows.integers("nonclk") == label, "clk", "0 where nonclk is 1, and 1 where it is 0")
        columns = {"user": rows.integers("user"), "time": time, "item": rows.integers("adgroup_id"), "label": label}
        spread.add(
            "row", {**columns, "pid": rows.values("pid"), "file": np.zeros(len(rows), np.int64), "line": rows.lines}
        )


def _spread_behaviours(path: Path, spread: UserSpread) -> None:
    for rows in text_rows(path, BEHAVIOUR_TABLE):
        columns = {"user": rows.integers("user"), "time": rows.integers("time_stamp")}
        columns |= {name: rows.integers(name) for name in ("cate", "brand")}
        # The file has pv where its description says ipv.
        btag = np.asarray(pc.replace_substring_regex(rows.values("btag"), "^ipv$", "pv"))
        possible = (columns["time"] >= 0) & (columns["time"] < 1 << SECOND_BITS)
        spread.add("event", {name: values[possible] for name, values in {**columns, "btag": btag}.items()})


def check(input_dir: str | os.PathLike[str], options: TaobaoAdOptions) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    for path, text_format in zip(files.all, (SAMPLE_TABLE, AD_TABLE, PROFILE_TABLE, BEHAVIOUR_TABLE), strict=False):
        check_text(path, text_format)


def read(input_dir: str | os.PathLike[str], options: TaobaoAdOptions) -> ReadUserRows:
    """Returns the Beam transform that reads a folder."""
    return ReadUserRows(input_dir, TaobaoAdReader(options))


def origin(input_dir: str | os.PathLike[str], options: TaobaoAdOptions) -> dict[str, Any]:
    """Returns the names of the files."""
    return {"files": [path.name for path in find_files(input_dir).all]}
