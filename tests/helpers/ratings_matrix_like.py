"""Writes ratings in the raw layouts of Jester and Coat, for tests: the format, not the data."""

import gzip
import os
from pathlib import Path

import numpy as np

from transforms.files import replacing_file, write_text
from transforms.portable_math import dot, exp, total
from transforms.portable_random import gumbel, normal
from transforms.sources.ratings_matrix.ratings import (
    COAT_FEATURES,
    COAT_PROPENSITIES,
    COAT_RANDOM_RATINGS,
    COAT_RATINGS,
    JESTER_COLUMNS,
    JESTER_FILES,
)

_COAT_VALUES = {
    "user": {
        "gender": ("men", "women"),
        "age": ("20-30", "30-40", "over 60"),
        "location": ("rural", "urban"),
        "fashioninterest": ("moderately", "very"),
    },
    "item": {
        "gender": ("men", "women"),
        "jackettype": ("bomber", "parkas", "trench"),
        "color": ("black", "red"),
        "onfrontpage": ("yes", "no"),
    },
}


def write_jester_like(
    folder: str | os.PathLike[str], users: int, jokes: int = 100, complete_share: float = 0.5, seed: int = 0
) -> None:
    """Writes `ratings.csv.gz`; ratings follow latent tastes, so that a model can learn them.

    Args:
      folder: made where it is missing.
      users, jokes: how many there are; jokes 2 or more.
      complete_share: the first so many users rated every joke, the others about half.
      seed: equal arguments give equal files.
    """
    rng = np.random.default_rng(seed)
    ratings = np.clip(1.0 + 4.0 * _tastes(users, jokes, rng), -10, 10)
    complete = np.arange(users) < round(users * complete_share)
    known = complete[:, None] | (rng.random((users, jokes)) < 0.5)
    known[~complete, 0] = False
    lines = [",".join(JESTER_COLUMNS)]
    for user, joke in np.argwhere(known):
        lines.append(f"u{user + 1},j{joke + 1},{ratings[user, joke]:.2f},{int(complete[user])}")
    with replacing_file(Path(folder) / JESTER_FILES[0]) as temporary:
        # Without a time stamp, so that equal seeds give equal files.
        temporary.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


def write_coat_like(folder: str | os.PathLike[str], users: int, items: int, rated: int = 24, seed: int = 0) -> None:
    """Writes `train.ascii`, `test.ascii` with 16 random items a user, `propensities.ascii`, `user_item_features/`.

    Args:
      folder: made where it is missing.
      users, items: how many there are.
      rated: items that each user chose, liked ones more often; at most `items`.
      seed: equal arguments give equal files.
    """
    rng = np.random.default_rng(seed)
    tastes = _tastes(users, items, rng)
    ratings = np.clip(np.round(3 + 1.2 * tastes), 1, 5).astype(int)
    chosen = np.argsort(np.argsort(-(tastes + gumbel(rng, tastes.shape)), axis=1, kind="stable"), axis=1) < rated
    propensities = exp(tastes) / total(exp(tastes))[:, None]
    _write_matrix(Path(folder) / COAT_RATINGS, np.where(chosen, ratings, 0), "%d")
    drawn = np.argsort(np.random.default_rng([seed, 1]).random(ratings.shape), axis=1) < 16
    _write_matrix(Path(folder) / COAT_RANDOM_RATINGS, np.where(drawn, ratings, 0), "%d")
    _write_matrix(Path(folder) / COAT_PROPENSITIES, propensities, "%.18e")
    for entity, members in (("user", users), ("item", items)):
        columns, names = [], []
        for name, values in _COAT_VALUES[entity].items():
            columns.append(np.eye(len(values), dtype=int)[rng.integers(0, len(values), members)])
            names += [f"{name}:{value}" for value in values]
        _write_matrix(Path(folder) / COAT_FEATURES / f"{entity}_features.ascii", np.hstack(columns), "%d")
        write_text(Path(folder) / COAT_FEATURES / f"{entity}_features_map.txt", "\n".join(names) + "\n")


def _tastes(users: int, items: int, rng: np.random.Generator) -> np.ndarray:
    match = dot(normal(rng, (4, users, 1)), normal(rng, (4, 1, items))) / 2
    tastes: np.ndarray = (match + 0.5 * normal(rng, items) + 0.5 * normal(rng, match.shape)) / 1.2
    return tastes


def _write_matrix(path: Path, values: np.ndarray, fmt: str) -> None:
    with replacing_file(path) as temporary:
        np.savetxt(temporary, values, fmt=fmt)
