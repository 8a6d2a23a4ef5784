"""Reads MovieLens: ratings as rows, well rated films as histories."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.features import LABEL, LAST_TIMESTAMP, MISSING_INT
from transforms.sources.movielens.schema import GENRES, HISTORY, LAYOUTS, NO_GENRE, Movielens, MovielensOptions
from transforms.sources.options import existing_folder, required_file
from transforms.sources.point_in_time.plan import History, Join, Once
from transforms.sources.point_in_time.splits import time_shares
from transforms.sources.text_format import TextFormat
from transforms.sources.text_log import Columns, ReadTextLog, TextFiles
from transforms.sources.text_table import TextRows, check_text, token_columns

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


def _movies(rows: TextRows) -> Columns:
    """Genres and years of films."""
    texts = rows.values("genres")
    genres = pc.if_else(pc.equal(texts, NO_GENRE), "", texts)
    named = dict(zip(GENRES, token_columns(genres, "|", len(GENRES)), strict=True))
    return {**named, "movieId": rows.values("movieId"), "year": _years(rows.values("title"))}


def _years(titles: pa.Array) -> np.ndarray:
    years = pc.struct_field(pc.extract_regex(titles, _YEAR), [0])
    numbers: np.ndarray = pc.fill_null(years.cast(pa.int64()), MISSING_INT).to_numpy(zero_copy_only=False)
    return numbers


def _ratings(rows: TextRows, positive_rating: float) -> Columns:
    times, rating = rows.integers("timestamp"), np.asarray(rows.values("rating"))
    rows.refuse(times > LAST_TIMESTAMP, "timestamp", "seconds since 1970")
    liked = rating >= positive_rating
    ids = {"user_id": rows.values("userId"), "item_id": rows.values("movieId")}
    return {**ids, "timestamp": times, LABEL: liked.astype(np.float32), "rating": rating, "liked": liked}


def _repeated(file: int, line: int, item: int, user: int, path: Path) -> InputError:
    where, received = f"{path}, line {line}, field movieId", f"{item} again of user {user}"
    return InputError(where, received, "each film once a user", "remove the repeated line")


def check(input_dir: str | os.PathLike[str], options: MovielensOptions) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    check_text(files.ratings, files.ratings_format)
    check_text(files.movies, files.movies_format)


def read(input_dir: str | os.PathLike[str], options: MovielensOptions) -> ReadTextLog:
    """Returns the Beam transform that reads a folder."""
    files = find_files(input_dir)
    ratings = TextFiles(
        [files.ratings], files.ratings_format, partial(_ratings, positive_rating=options.positive_rating)
    )
    movies = TextFiles([files.movies], files.movies_format, _movies)
    shares = 1 - options.eval_share - options.test_share, options.eval_share, options.test_share
    fix = "give more ratings, or choose other values of eval_share and test_share"
    return ReadTextLog(
        [ratings],
        {"movies": movies},
        [
            Once(("user_id",), ("item_id",), partial(_repeated, path=files.ratings)),
            History(HISTORY, "item_id", where="liked", last=options.history_length),
            Join("movies", ("item_id",), (*GENRES, "year"), ("movieId",), place=movies.place),
        ],
        time_shares(shares, str(files.ratings), fix),
        Movielens(options).feature_set(),
    )


def origin(input_dir: str | os.PathLike[str], options: MovielensOptions) -> dict[str, Any]:
    """Returns the names of the files."""
    files = find_files(input_dir)
    return {"files": [files.ratings.name, files.movies.name]}
