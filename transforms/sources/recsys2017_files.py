"""RecSys 2017's raw files, and what they say of users and items."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.recsys2017_options import (
    INTERACTION_TABLE,
    INTERACTIONS,
    ITEM_LISTS,
    ITEM_TABLE,
    ITEMS,
    SHARED_IDS,
    USER_LISTS,
    USER_TABLE,
    USERS,
)
from transforms.sources.row_options import existing_folder, required_file
from transforms.sources.text_format import TextFormat
from transforms.sources.text_table import check_text, token_columns

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


def check_files(input_dir: str | os.PathLike[str]) -> None:
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
