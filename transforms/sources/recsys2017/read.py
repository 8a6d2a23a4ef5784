"""Reads RecSys 2017: interactions as rows, items with a positive one as histories."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pa
from transforms.features import LABEL, LAST_TIMESTAMP
from transforms.sources.options import existing_folder, required_file
from transforms.sources.point_in_time.plan import RECORD, History, Join
from transforms.sources.point_in_time.splits import ByTime, Starts, TimeCounts, checked_starts
from transforms.sources.recsys2017.schema import (
    HISTORY,
    INTERACTION_TABLE,
    INTERACTIONS,
    ITEM_LISTS,
    ITEM_TABLE,
    ITEMS,
    POSITIVE_TYPES,
    RECRUITER_TYPE,
    SHARED_IDS,
    USER_LISTS,
    USER_TABLE,
    USERS,
    Recsys2017,
    Recsys2017Options,
)
from transforms.sources.text_log import Columns, ReadTextLog, TextFiles, all_fields
from transforms.sources.text_table import TextRows, check_text, token_columns

CREATED = "created_at"
_OF_INTERACTIONS = ("item_age_days", "interaction_type")
_EXPECTED = f"{INTERACTIONS}, {USERS} and {ITEMS}"


@dataclass(frozen=True)
class Recsys2017Files:
    """Where the files are."""

    interactions: Path
    users: Path
    items: Path


def find_files(input_dir: str | os.PathLike[str]) -> Recsys2017Files:
    """The files of a folder.

    Raises:
      InputError: one is missing.
    """
    folder = existing_folder(input_dir, _EXPECTED)
    return Recsys2017Files(*(required_file(folder, [name], _EXPECTED) for name in (INTERACTIONS, USERS, ITEMS)))


def check(input_dir: str | os.PathLike[str], options: Recsys2017Options) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    check_text(files.interactions, INTERACTION_TABLE)
    check_text(files.users, USER_TABLE)
    check_text(files.items, ITEM_TABLE)


_DAY = 86_400


def _members(rows: TextRows, lists: Mapping[str, tuple[str, ...]], whose: str) -> Columns:
    """Users or job postings: of each list the first few have a column each; fields of both get their owner's name."""
    columns = dict(all_fields(rows))
    for name, columns_of_list in lists.items():
        columns |= zip(columns_of_list, token_columns(columns.pop(name), ",", len(columns_of_list)), strict=True)
    return {f"{whose}_{name}" if name in SHARED_IDS else name: values for name, values in columns.items()}


def _interactions(rows: TextRows) -> Columns:
    times, kind = rows.integers("created_at"), rows.integers("interaction_type")
    rows.refuse(times > LAST_TIMESTAMP, "created_at", "seconds since 1970")
    positive = np.isin(kind, POSITIVE_TYPES)
    return {
        "user_id": rows.values("user_id"),
        "item_id": rows.values("item_id"),
        "timestamp": times,
        LABEL: positive.astype(np.float32),
        "positive": positive,
        "interaction_type": kind,
        RECORD: kind != RECRUITER_TYPE,
    }


def _starts(times: TimeCounts, options: Recsys2017Options, where: str) -> Starts:
    test = times.last + 1 - round(options.test_days * _DAY)
    starts = test - round(options.eval_days * _DAY), test
    return checked_starts(times, starts, where, "choose smaller test_days and eval_days")


def _with_ages(rows: pa.Table) -> pa.Table:
    """Days between a posting and the interaction; clocks differ: a posting can seem younger than nothing."""
    created = rows[CREATED].cast(pa.float64()).to_numpy()
    age = np.maximum(rows["timestamp"].to_numpy() - np.where(created < 0, np.nan, created), 0) / _DAY
    return rows.append_column("item_age_days", pa.array(age.astype(np.float32)))


def read(input_dir: str | os.PathLike[str], options: Recsys2017Options) -> ReadTextLog:
    """Returns the Beam transform that reads a folder."""
    files, feature_set = find_files(input_dir), Recsys2017(options).feature_set()
    users = TextFiles([files.users], USER_TABLE, partial(_members, lists=USER_LISTS, whose="user"))
    items = TextFiles([files.items], ITEM_TABLE, partial(_members, lists=ITEM_LISTS, whose="item"))
    added = [column for column in feature_set.columns if column.name not in (HISTORY, *_OF_INTERACTIONS)]
    of_users = tuple(column.name for column in added if column.entity == "user")
    of_items = tuple(column.name for column in added if column.entity == "item")
    return ReadTextLog(
        [TextFiles([files.interactions], INTERACTION_TABLE, _interactions)],
        {"users": users, "items": items},
        [
            Join("items", ("item_id",), (*of_items, CREATED), ("id",), place=items.place),
            Join("users", ("user_id",), of_users, ("id",), place=users.place),
            History(HISTORY, "item_id", where="positive", last=options.history_length),
        ],
        ByTime(partial(_starts, options=options, where=str(files.interactions))),
        feature_set,
        _with_ages,
    )


def origin(input_dir: str | os.PathLike[str], options: Recsys2017Options) -> dict[str, Any]:
    """Returns the names of the files."""
    return {"files": [INTERACTIONS, USERS, ITEMS]}
