"""Reads MovieLens: ratings as rows, well rated films as histories."""

import numpy as np

from transforms.batches import Ragged, Values
from transforms.errors import InputError
from transforms.features import LABEL
from transforms.sources.events_before import SECOND_BITS, Histories
from transforms.sources.member_table import MemberTable
from transforms.sources.movielens import HISTORY
from transforms.sources.movielens_files import find_files, read_movies
from transforms.sources.movielens_options import MovielensOptions
from transforms.sources.text_table import text_rows
from transforms.sources.user_rows import Rows, ToColumns, Types, UserRowReader, UserSpread, checked_starts, request_ids

_EVENT: Types = {"user": "int64", "time": "int64", "item": "int64"}


class MovielensReader(UserRowReader):
    """Reads a folder.

    Args:
      options: as of the import.
    """

    tables = {"row": {**_EVENT, "file": "int64", "line": "int64", "halves": "int64"}, "event": _EVENT}

    def __init__(self, options: MovielensOptions):
        self._options = options

    def raw_bytes(self, input_dir: str) -> int:
        return find_files(input_dir).ratings.stat().st_size

    def spread(self, input_dir: str, spread: UserSpread) -> tuple[int, int]:
        files = find_files(input_dir)
        self._movies: MemberTable = read_movies(files)
        times = []
        for rows in text_rows(files.ratings, files.ratings_format):
            seconds = rows.integers("timestamp")
            rows.refuse(seconds >= 1 << SECOND_BITS, "timestamp", "seconds since 1970")
            rating: np.ndarray = np.asarray(rows.values("rating"))
            columns = {"user": rows.integers("userId"), "time": seconds, "item": rows.integers("movieId")}
            places = {"file": np.zeros(len(rows), np.int64), "line": rows.lines}
            spread.add("row", {**columns, **places, "halves": np.round(rating * 2).astype(np.int64)})
            liked = rating >= self._options.positive_rating
            spread.add("event", {name: values[liked] for name, values in columns.items()})
            times.append(seconds)
        ordered = np.sort(np.concatenate(times))
        ends = np.array([1 - self._options.eval_share - self._options.test_share, 1 - self._options.test_share])
        first, second = ordered[np.minimum(np.round(len(ordered) * ends).astype(np.int64), len(ordered) - 1)].tolist()
        fix = "give more ratings, or choose other values of eval_share and test_share"
        return checked_starts(spread.time_range("row"), (first, second), str(files.ratings), fix)

    def check_part(self, input_dir: str, rows: Rows) -> None:
        order = np.lexsort((rows["line"], rows["item"], rows["user"]))
        same = (np.diff(rows["user"][order]) == 0) & (np.diff(rows["item"][order]) == 0)
        if same.any():
            again = order[1:][same]
            row = again[np.argmin(rows["line"][again])]
            where = f"{find_files(input_dir).ratings}, line {rows['line'][row]}, field movieId"
            received = f"{rows['item'][row]} again of user {rows['user'][row]}"
            raise InputError(where, received, "each film once a user", "remove the repeated line")

    def columns_of(self, events: Rows) -> ToColumns:
        histories = Histories(events["user"], events["time"], {HISTORY: events["item"]})

        def columns(rows: Rows) -> dict[str, Values]:
            watched = histories.before(rows["user"], rows["time"], self._options.history_length)[HISTORY]
            rating = (rows["halves"] / 2).astype(np.float32)
            return {
                "request_id": request_ids(rows),
                "user_id": rows["user"].astype("S"),
                "item_id": rows["item"].astype("S"),
                "timestamp": rows["time"],
                LABEL: (rating >= self._options.positive_rating).astype(np.float32),
                HISTORY: Ragged(np.asarray(watched.values).astype("S"), watched.offsets),
                "rating": rating,
                **self._movies.at(rows["item"]),
            }

        return columns
