"""Reads RecSys 2017: interactions as rows, items with a positive one as histories."""

import numpy as np

from transforms.batches import Ragged, Values
from transforms.features import LABEL
from transforms.sources.events_before import SECOND_BITS, Histories
from transforms.sources.recsys2017 import HISTORY
from transforms.sources.recsys2017_files import CREATED, find_files, read_items, read_users
from transforms.sources.recsys2017_options import (
    INTERACTION_TABLE,
    POSITIVE_TYPES,
    RECRUITER_TYPE,
    Recsys2017Options,
)
from transforms.sources.text_table import text_rows
from transforms.sources.user_rows import Rows, ToColumns, Types, UserRowReader, UserSpread, checked_starts, request_ids

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
