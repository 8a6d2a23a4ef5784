"""Writes raw files of RecSys 2017's layout, for tests: the format, not the data."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from transforms.files import write_text
from transforms.sources.recsys2017.schema import (
    INTERACTION_TABLE,
    INTERACTIONS,
    ITEM_TABLE,
    ITEMS,
    USER_TABLE,
    USERS,
)

_START, _DAYS, _JOBS = 1_478_000_000, 60, 8
_PREFIXES = {
    INTERACTIONS: "recsyschallenge_v2017_interactions_final_anonym_training_export",
    USERS: "recsyschallenge_v2017_users_final_anonym_export_unique",
    ITEMS: "recsyschallenge_v2017_items_final_anonym_export",
}
_TABLES = {INTERACTIONS: INTERACTION_TABLE, USERS: USER_TABLE, ITEMS: ITEM_TABLE}


def write_recsys2017_like(
    folder: str | os.PathLike[str], users: int, items: int, interactions: int, seed: int = 0
) -> None:
    """Writes the three files and the challenge's lists; a click is likelier where job roles and titles agree.

    Args:
      folder: made where it is missing.
      users, items: how many there are.
      interactions: how many there are, in no order of time.
      seed: equal arguments give equal files.
    """
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, users, interactions), rng.integers(0, items, interactions)
    likely = np.where(user % _JOBS == item % _JOBS, 0.5, 0.05)
    kind = np.where(rng.random(interactions) < likely, rng.choice([1, 1, 2, 3], interactions), 0)
    kind = np.where(rng.random(interactions) < 0.05, rng.choice([4, 5], interactions), kind)
    seconds = _START + rng.integers(0, _DAYS * 86_400, interactions)
    events = zip(user + 1, item + 1, kind, seconds, strict=True)
    write_recsys2017_table(folder, INTERACTIONS, events)
    write_recsys2017_table(folder, USERS, (_user(number) for number in range(users)))
    write_recsys2017_table(folder, ITEMS, (_item(number) for number in range(items)))
    for name, numbers in (("targetUsers.csv", range(1, users + 1)), ("targetItems.csv", range(1, items + 1))):
        write_text(Path(folder) / name, "\n".join(map(str, numbers)) + "\n")


def write_recsys2017_table(folder: str | os.PathLike[str], name: str, rows: Iterable[Iterable[object]]) -> None:
    """Writes one file with its prefixed header."""
    fields = _TABLES[name].fields
    lines = ["\t".join(f"{_PREFIXES[name]}.{field}" for field in fields)]
    write_text(Path(folder) / name, "\n".join([*lines, *("\t".join(map(str, row)) for row in rows)]) + "\n")


def _user(number: int) -> list[object]:
    roles = ",".join(str(1000 + number % _JOBS + 10 * extra) for extra in range(number % 3 + 1))
    return [number + 1, roles, number % 7, number % 23, number % 22, "de", number % 17, 1, 3, 2, number % 4, "", 0, 1]


def _item(number: int) -> list[object]:
    title = f"{1000 + number % _JOBS},{2000 + number % 50}"
    place = ("", "") if number % 4 == 0 else ("48.1", "11.6")
    created = _START - number * 3600
    return [
        *(number + 1, title, number % 7, number % 23, number % 22, "de", number % 2, number % 17),
        *(*place, number % 6, f"{3000 + number % 90}", created),
    ]
