"""Reads MovieLens: ratings as rows, well rated films as histories."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pa, pc
from transforms.batches import Ragged, Values
from transforms.errors import InputError
from transforms.features import LABEL, MISSING_INT
from transforms.sources.events_before import SECOND_BITS, Histories
from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.movielens.schema import GENRES, HISTORY, LAYOUTS, NO_GENRE, MovielensOptions
from transforms.sources.options import existing_folder, required_file
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

_EXPECTED = "ratings.csv and movies.csv, or ratings.dat and movies.dat"
# A series has the years of its first and last season, or an open end.
_YEAR = r"\((?P<year>[0-9]{4})(?:[-–][0-9]{0,4})?\)\s*$"


@dataclass(frozen=True)
class MovielensFiles:
    """Where the files are, and what stands in them."""

    ratings: Path
    movies: Path
    ratings_format: TextFormat
    movies_format: TextFormat


def find_files(input_dir: str | os.PathLike[str]) -> MovielensFiles:
    """The files of a folder, `.csv` before `.dat`.

    Raises:
      InputError: one is missing.
    """
    folder = existing_folder(input_dir, _EXPECTED)
    fix = "correct --input, or get the file"
    ratings = required_file(folder, (f"ratings.{suffix}" for suffix in LAYOUTS), _EXPECTED, fix)
    suffix = ratings.suffix.removeprefix(".")
    return MovielensFiles(ratings, required_file(folder, [f"movies.{suffix}"], _EXPECTED, fix), *LAYOUTS[suffix])


def read_movies(files: MovielensFiles) -> MemberTable:
    """Genres and years of all films.

    Raises:
      InputError: a line is malformed, or a film stands in two.
    """
    ids, columns = read_members(files.movies, files.movies_format, "movieId")
    texts = columns["genres"]
    genres = pc.if_else(pc.equal(texts, NO_GENRE), "", texts)
    named = dict(zip(GENRES, token_columns(genres, "|", len(GENRES)), strict=True))
    return MemberTable(ids, {**named, "year": _years(columns["title"])})


def _years(titles: pa.Array) -> np.ndarray:
    found = pc.struct_field(pc.extract_regex(titles, _YEAR), [0])
    years: np.ndarray = pc.fill_null(found.cast(pa.int64()), MISSING_INT).to_numpy(zero_copy_only=False)
    return years


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


def check(input_dir: str | os.PathLike[str], options: MovielensOptions) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    check_text(files.ratings, files.ratings_format)
    check_text(files.movies, files.movies_format)


def read(input_dir: str | os.PathLike[str], options: MovielensOptions) -> ReadUserRows:
    """Returns the Beam transform that reads a folder."""
    return ReadUserRows(input_dir, MovielensReader(options))


def origin(input_dir: str | os.PathLike[str], options: MovielensOptions) -> dict[str, Any]:
    """Returns the names of the files."""
    files = find_files(input_dir)
    return {"files": [files.ratings.name, files.movies.name]}
