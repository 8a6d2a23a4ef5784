"""Reads TaobaoAd: ads shown as rows, behaviours in the shop as histories."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pc
from transforms.features import LABEL
from transforms.sources.options import existing_folder, required_file
from transforms.sources.point_in_time.plan import RECORD, History, Join
from transforms.sources.point_in_time.splits import fixed_times
from transforms.sources.taobao_ad.schema import (
    AD_IDS,
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
    USER_FIELDS,
    UTC_OFFSET,
    TaobaoAd,
    TaobaoAdOptions,
)
from transforms.sources.text_log import Columns, ReadTextLog, TextFiles
from transforms.sources.text_table import TextRows, check_text

_BEHAVED = "_behaved"
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


def midnight(day: str) -> int:
    """The first second of a day of China."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) - UTC_OFFSET


def _shown(rows: TextRows) -> Columns:
    """Ads shown."""
    times, label = rows.integers("time_stamp"), rows.integers("clk")
    first, end = midnight(FIRST_DAY), midnight(TEST_DAY) + 86_400
    rows.refuse((times < first) | (times >= end), "time_stamp", f"seconds of {FIRST_DAY} to {TEST_DAY} in China")
    rows.refuse(rows.integers("nonclk") == label, "clk", "0 where nonclk is 1, and 1 where it is 0")
    return {
        "user_id": rows.values("user"),
        "item_id": rows.values("adgroup_id"),
        "timestamp": times,
        LABEL: label.astype(np.float32),
        "pid": rows.values("pid"),
        "local_time": times + UTC_OFFSET,
        RECORD: np.ones(len(rows), bool),
        _BEHAVED: np.zeros(len(rows), bool),
    }


def _behaviours(rows: TextRows) -> Columns:
    """What users did in the shop: no records."""
    return {
        "user_id": rows.values("user"),
        "timestamp": rows.values("time_stamp"),
        "behaviour_cate": rows.values("cate"),
        "behaviour_brand": rows.values("brand"),
        # The file has pv where its description says ipv.
        "behaviour_btag": pc.replace_substring_regex(rows.values("btag"), "^ipv$", "pv"),
        RECORD: np.zeros(len(rows), bool),
        # Times before 1970 are as impossible as those years later, which come after all ads.
        _BEHAVED: rows.integers("time_stamp") >= 0,
    }


def check(input_dir: str | os.PathLike[str], options: TaobaoAdOptions) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    for path, text_format in zip(files.all, (SAMPLE_TABLE, AD_TABLE, PROFILE_TABLE, BEHAVIOUR_TABLE), strict=False):
        check_text(path, text_format)


def read(input_dir: str | os.PathLike[str], options: TaobaoAdOptions) -> ReadTextLog:
    """Returns the Beam transform that reads a folder."""
    files = find_files(input_dir)
    logs = [TextFiles([files.sample], SAMPLE_TABLE, _shown)]
    if files.behaviours:
        logs.append(TextFiles([files.behaviours], BEHAVIOUR_TABLE, _behaviours))
    tables = {"ads": TextFiles([files.ads], AD_TABLE), "profiles": TextFiles([files.profiles], PROFILE_TABLE)}
    histories = [
        History(f"history_{name}", f"behaviour_{name}", where=_BEHAVED, last=options.history_length)
        for name in ("cate", "brand", "btag")
    ]
    return ReadTextLog(
        logs,
        tables,
        [
            Join("ads", ("item_id",), (*AD_IDS, "price"), ("adgroup_id",), place=tables["ads"].place),
            Join("profiles", ("user_id",), USER_FIELDS, ("userid",), place=tables["profiles"].place),
            *histories,
        ],
        fixed_times((midnight(EVAL_DAY), midnight(TEST_DAY)), str(files.sample), "get the whole file"),
        TaobaoAd(options).feature_set(),
        events_first=True,
    )


def origin(input_dir: str | os.PathLike[str], options: TaobaoAdOptions) -> dict[str, Any]:
    """Returns the names of the files."""
    return {"files": [path.name for path in find_files(input_dir).all]}
