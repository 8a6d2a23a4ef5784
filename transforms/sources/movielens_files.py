"""MovieLens' two raw files."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transforms.arrow import pa, pc
from transforms.features import MISSING_INT
from transforms.sources.member_table import MemberTable, read_members
from transforms.sources.movielens_options import GENRES, LAYOUTS, NO_GENRE
from transforms.sources.row_options import existing_folder, required_file
from transforms.sources.text_format import TextFormat
from transforms.sources.text_table import check_text, token_columns

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


def check_files(input_dir: str | os.PathLike[str]) -> None:
    """Looks at the first lines of the files.

    Raises:
      InputError: what is wrong.
    """
    files = find_files(input_dir)
    check_text(files.ratings, files.ratings_format)
    check_text(files.movies, files.movies_format)


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
