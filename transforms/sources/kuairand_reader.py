"""Reads KuaiRand: videos shown as rows, clicked videos as histories."""

import numpy as np

from transforms.batches import Ragged, Values
from transforms.features import LABEL
from transforms.sources.events_before import MILLISECOND_BITS, Histories
from transforms.sources.kuairand_files import (
    UPLOAD_DAY,
    KuairandFiles,
    find_files,
    midnight_ms,
    read_users,
    read_videos,
)
from transforms.sources.kuairand_options import (
    DAY_MS,
    EVAL_DAY,
    FIRST_DAY,
    LAST_DAY,
    LOG,
    UTC_OFFSET_MS,
    KuairandOptions,
)
from transforms.sources.text_table import TextRows, text_rows
from transforms.sources.user_rows import Rows, ToColumns, Types, UserRowReader, UserSpread, checked_starts, request_ids

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
