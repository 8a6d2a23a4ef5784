"""Reads RecSys 2017: interactions as rows, items with a positive one as histories."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transforms.batches import Ragged, Values
from transforms.features import LABEL
from transforms.sources.events_before import SECOND_BITS, Histories
from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.options import existing_folder, required_file
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
    Recsys2017Options,
)
from transforms.sources.text_format import TextFormat
from transforms.sources.text_table import check_text, text_rows, token_columns
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

CREATED = "created_at"
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


def read_users(files: Recsys2017Files) -> MemberTable:
    """What is known of users.

    Raises:
      InputError: a line is malformed.
    """
    return _members(files.users, USER_TABLE, USER_LISTS, "user")


def read_items(files: Recsys2017Files) -> MemberTable:
    """What is known of job postings, `created_at` included.

    Raises:
      InputError: a line is malformed.
    """
    return _members(files.items, ITEM_TABLE, ITEM_LISTS, "item")


def _members(path: Path, text_format: TextFormat, lists: Mapping[str, tuple[str, ...]], whose: str) -> MemberTable:
    ids, columns = read_members(path, text_format, "id")
    for name, columns_of_list in lists.items():
        texts = columns.pop(name)
        columns |= zip(columns_of_list, token_columns(texts, ",", len(columns_of_list)), strict=True)
    if CREATED in columns:
        created = np.asarray(columns[CREATED])
        columns[CREATED] = np.where(created < 0, np.nan, created.astype(np.float64))
    return MemberTable(ids, {f"{whose}_{name}" if name in SHARED_IDS else name: columns[name] for name in columns})


_EVENT: Types = {"user": "int64", "time": "int64", "item": "int64"}
_DAY = 86_400


class Recsys2017Reader(UserRowReader):
    """Reads a folder.

    Args:
      options: as of the import.
    """

    tables = {"row": {**_EVENT, "file": "int64", "line": "int64", "type": "int64"}, "event": _EVENT}

    def __init__(self, options: Recsys2017Options):
        self._options = options

    def raw_bytes(self, input_dir: str) -> int:
        return find_files(input_dir).interactions.stat().st_size

    def spread(self, input_dir: str, spread: UserSpread) -> tuple[int, int]:
        files = find_files(input_dir)
        self._users, self._items = read_users(files), read_items(files)
        for rows in text_rows(files.interactions, INTERACTION_TABLE):
            time, kind = rows.integers("created_at"), rows.integers("interaction_type")
            rows.refuse(time >= 1 << SECOND_BITS, "created_at", "seconds since 1970")
            columns = {"user": rows.integers("user_id"), "time": time, "item": rows.integers("item_id")}
            places = {"file": np.zeros(len(rows), np.int64), "line": rows.lines, "type": kind}
            own = kind != RECRUITER_TYPE
            spread.add("row", {name: values[own] for name, values in (columns | places).items()})
            positive = np.isin(kind, POSITIVE_TYPES)
            spread.add("event", {name: values[positive] for name, values in columns.items()})
        span = spread.time_range("row")
        test = (span[1] if span else 0) + 1 - round(self._options.test_days * _DAY)
        starts = test - round(self._options.eval_days * _DAY), test
        return checked_starts(span, starts, str(files.interactions), "choose smaller test_days and eval_days")

    def columns_of(self, events: Rows) -> ToColumns:
        histories = Histories(events["user"], events["time"], {HISTORY: events["item"]})

        def columns(rows: Rows) -> dict[str, Values]:
            liked = histories.before(rows["user"], rows["time"], self._options.history_length)[HISTORY]
            items = self._items.at(rows["item"])
            # Clocks differ: a posting can seem younger than nothing.
            age = np.maximum(rows["time"] - items.pop(CREATED), 0) / _DAY
            return {
                "request_id": request_ids(rows),
                "user_id": rows["user"].astype("S"),
                "item_id": rows["item"].astype("S"),
                "timestamp": rows["time"],
                LABEL: np.isin(rows["type"], POSITIVE_TYPES).astype(np.float32),
                HISTORY: Ragged(np.asarray(liked.values).astype("S"), liked.offsets),
                "interaction_type": rows["type"],
                **self._users.at(rows["user"]),
                **items,
                "item_age_days": age.astype(np.float32),
            }

        return columns


def read(input_dir: str | os.PathLike[str], options: Recsys2017Options) -> ReadUserRows:
    """Returns the Beam transform that reads a folder."""
    return ReadUserRows(input_dir, Recsys2017Reader(options))


def origin(input_dir: str | os.PathLike[str], options: Recsys2017Options) -> dict[str, Any]:
    """Returns the names of the files."""
    return {"files": [INTERACTIONS, USERS, ITEMS]}
