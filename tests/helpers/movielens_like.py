"""Writes ratings in MovieLens' two layouts, for tests: the format, not the data."""

import os
from pathlib import Path
from typing import Literal

import numpy as np

from transforms.files import write_text
from transforms.portable_math import dot
from transforms.portable_random import normal

_GENRES = ("Action", "Comedy", "Drama", "Sci-Fi", "War")


def write_movielens_like(
    folder: str | os.PathLike[str],
    users: int,
    films: int,
    rated: int,
    layout: Literal["csv", "dat"] = "csv",
    seed: int = 0,
) -> None:
    """Writes ratings and movies; ratings follow users' and films' tastes, so that a model can learn them.

    Args:
      folder: made where it is missing.
      users, films: how many there are.
      rated: films that each user rated; at most `films`.
      layout: of the files.
      seed: equal arguments give equal files.
    """
    rng = np.random.default_rng(seed)
    match = dot(normal(rng, (4, users, 1)), normal(rng, (4, 1, films))) / 2 + 0.5 * normal(rng, films)
    halves = np.clip(np.round(2 * (3.4 + match)), 1, 10).astype(int)
    chosen = np.argsort(rng.random((users, films)), axis=1, kind="stable")[:, :rated]
    start = 1_000_000_000 + rng.integers(0, 86_400 * 1000, users)
    delimiter = "," if layout == "csv" else "::"
    ratings, movies = ["userId,movieId,rating,timestamp"], ["movieId,title,genres"]
    for user, film in np.ndindex(users, rated):
        item = chosen[user, film]
        # 1M has whole stars only.
        stars = f"{halves[user, item] / 2:.1f}" if layout == "csv" else str(halves[user, item] // 2 or 1)
        ratings.append(delimiter.join((str(user + 1), str(item + 1), stars, str(start[user] + 30 * film))))
    for film in range(films):
        genres = "|".join(_GENRES[number] for number in sorted({film % 5, film * 3 % 5}))
        title = f"Film, The {film} ({1950 + film % 60})"
        movies.append(delimiter.join((str(film + 1), f'"{title}"' if layout == "csv" else title, genres)))
    for name, lines in (("ratings", ratings), ("movies", movies)):
        text = "\n".join(lines if layout == "csv" else lines[1:]) + "\n"
        write_text(Path(folder) / f"{name}.{layout}", text)
