"""Ratings in the raw layouts of Jester and Coat."""

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from transforms.errors import InputError
from transforms.sources.ratings_matrix.schema import COAT_ITEM_FIELDS, COAT_USER_FIELDS, PROPENSITY, Format

JESTER_FILES = ("ratings.csv.gz", "ratings.csv")
JESTER_COLUMNS = ("user", "joke", "rating", "user_complete")
COAT_RATINGS, COAT_RANDOM_RATINGS, COAT_PROPENSITIES = "train.ascii", "test.ascii", "propensities.ascii"
COAT_FEATURES = "user_item_features"
_LOWEST, _HIGHEST = -10.0, 10.0
_COAT_RATINGS = (0, 1, 2, 3, 4, 5)
_AGAIN = "get the file again"


@dataclass(frozen=True)
class Ratings:
    """A matrix of ratings.

    Args:
      values: float64 [users, items]; NaN where there is no rating.
      users, items: ids, bytes.
      user_fields, item_fields: values by column name, bytes [users] and [items].
      cells: values of each user and item by column name, float32 [users, items].
      at_random: ratings of items that were drawn at random for a user, as `values`; `[0, 0]` if none were read.
    """

    values: np.ndarray
    users: np.ndarray
    items: np.ndarray
    user_fields: dict[str, np.ndarray] = field(default_factory=dict)
    item_fields: dict[str, np.ndarray] = field(default_factory=dict)
    cells: dict[str, np.ndarray] = field(default_factory=dict)
    at_random: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def read_ratings(input_dir: str | os.PathLike[str], layout: Format, with_random: bool = False) -> Ratings:
    """Reads a folder of raw files whole.

    Args:
      input_dir: the folder.
      layout: of its files.
      with_random: True reads Coat's ratings of random coats, too.

    Raises:
      InputError: a file is missing or malformed; it, the line and the value are named.
    """
    folder = Path(input_dir)
    return _read_jester(folder) if layout == "jester" else _read_coat(folder, with_random)


def _read_jester(folder: Path) -> Ratings:
    path = next((folder / name for name in JESTER_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(str(folder), "no such file", " or ".join(JESTER_FILES), "correct --input or option format")
    table = _jester_table(path)

    def refuse(bad: pd.Series, column: str, expected: str) -> None:
        if bad.any():
            line = int(np.argmax(bad.to_numpy()))
            where = f"{path}, line {line + 2}, field {column}"
            raise InputError(where, repr(table[column].iloc[line]), expected, "repair or remove the line")

    for column in ("user", "joke"):
        refuse(table[column] == "", column, "an id")
    rating = pd.to_numeric(table["rating"], errors="coerce")
    refuse(~rating.between(_LOWEST, _HIGHEST), "rating", f"a number of {_LOWEST:g} to {_HIGHEST:g}")
    refuse(~table["user_complete"].isin(["0", "1"]), "user_complete", "0 or 1")
    refuse(table.duplicated(["user", "joke"]), "joke", "each joke once a user")
    complete = table["user_complete"] == "1"
    if not complete.any():
        fix = "use a file with users who rated every joke"
        raise InputError(str(path), "no line with user_complete 1", "users who rated every joke", fix)
    users, row = np.unique(table["user"][complete].to_numpy(str), return_inverse=True)
    # All the file's jokes, so that a complete user's missing joke is noticed.
    items = np.unique(table["joke"].to_numpy(str))
    values = np.full((len(users), len(items)), np.nan)
    values[row, np.searchsorted(items, table["joke"][complete].to_numpy(str))] = rating[complete]
    missing = np.isnan(values).any(axis=1)
    if missing.any():
        user = int(np.argmax(missing))
        where = f"{path}, user {users[user]}"
        received = f"{int((~np.isnan(values[user])).sum())} ratings of a user with user_complete 1"
        raise InputError(where, received, f"{len(items)} ratings, one of each joke", _AGAIN)
    return Ratings(values, np.char.encode(users), np.char.encode(items))


def _jester_table(path: Path) -> pd.DataFrame:
    try:
        # As text: the number that a bad value would become could not be reported.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    # A damaged gzip is one of the last three.
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise InputError(str(path), f"a damaged file ({error})", "text separated by commas", _AGAIN) from error
    missing = [name for name in JESTER_COLUMNS if name not in table.columns]
    if missing:
        received = f"columns {', '.join(map(str, table.columns))}"
        raise InputError(f"{path}, line 1", received, f"columns {', '.join(JESTER_COLUMNS)}", "correct option format")
    return table


def _read_coat(folder: Path, with_random: bool) -> Ratings:
    ratings_path = folder / COAT_RATINGS
    values = _coat_ratings(ratings_path)
    silent = np.isnan(values).all(axis=1)
    if silent.any():
        where = f"{ratings_path}, line {int(np.argmax(silent)) + 1}"
        raise InputError(where, "no rating", "a user with ratings", "remove the user from all files")
    at_random = _coat_ratings(folder / COAT_RANDOM_RATINGS) if with_random else None
    propensities_path = folder / COAT_PROPENSITIES
    propensities = _numbers(propensities_path)
    for path, matrix in ((folder / COAT_RANDOM_RATINGS, at_random), (propensities_path, propensities)):
        if matrix is not None and matrix.shape != values.shape:
            received, expected = (f"{len(m)} lines of {m.shape[1]} numbers" for m in (matrix, values))
            raise InputError(str(path), received, f"{expected}, as {COAT_RATINGS}", _AGAIN)
    _refuse_cells(propensities_path, propensities, ~((propensities > 0) & (propensities <= 1)), "a probability above 0")
    users, items = values.shape
    return Ratings(
        values,
        _names("u", users),
        _names("i", items),
        _one_hot_fields(folder / COAT_FEATURES, "user", COAT_USER_FIELDS, users),
        _one_hot_fields(folder / COAT_FEATURES, "item", COAT_ITEM_FIELDS, items),
        {PROPENSITY: propensities.astype(np.float32)},
        np.empty((0, 0)) if at_random is None else at_random,
    )


def _coat_ratings(path: Path) -> np.ndarray:
    """Ratings of each user and coat, NaN for none."""
    values = _numbers(path)
    _refuse_cells(path, values, ~np.isin(values, _COAT_RATINGS), "a rating of 1 to 5, or 0 for none")
    return np.where(values == 0, np.nan, values)


def _one_hot_fields(folder: Path, entity: str, fields: tuple[str, ...], members: int) -> dict[str, np.ndarray]:
    """The categories that one-hot columns stand for; a line `field:value` of the map names each column."""
    path, map_path = folder / f"{entity}_features.ascii", folder / f"{entity}_features_map.txt"
    if not map_path.is_file():
        raise InputError(str(map_path), "no such file", "a line field:value for each column", "get the file")
    names = [line.partition(":") for line in map_path.read_text(errors="replace").splitlines() if line.strip()]
    flags = _numbers(path)
    if flags.shape != (members, len(names)):
        received = f"{flags.shape[0]} lines of {flags.shape[1]} numbers"
        raise InputError(str(path), received, f"{members} lines of {len(names)}", _AGAIN)
    categories = {}
    for name in fields:
        columns = [index for index, (field_name, _, _) in enumerate(names) if field_name == name]
        if not columns:
            raise InputError(str(map_path), f"no field {name!r}", f"fields {', '.join(fields)}", _AGAIN)
        wrong = (flags[:, columns] == 1).sum(axis=1) != 1
        if wrong.any():
            where = f"{path}, line {int(np.argmax(wrong)) + 1}, field {name}"
            received = flags[int(np.argmax(wrong)), columns].astype(int).tolist()
            raise InputError(where, received, "a single 1", "repair the line")
        values = np.array([names[index][2] for index in columns])
        categories[f"{entity}_{name}"] = np.char.encode(values[flags[:, columns].argmax(axis=1)])
    return categories


def _numbers(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(str(path), "no such file", "a matrix of numbers", "correct --input or option format")
    try:
        return np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise InputError(str(path), str(error), "lines of equally many numbers", _AGAIN) from error


def _refuse_cells(path: Path, values: np.ndarray, bad: np.ndarray, expected: str) -> None:
    if bad.any():
        line, column = np.argwhere(bad)[0].tolist()
        raise InputError(f"{path}, line {line + 1}, column {column + 1}", values[line, column], expected, _AGAIN)


def _names(letter: str, size: int) -> np.ndarray:
    width = len(str(size - 1))
    return np.array([f"{letter}{number:0{width}d}".encode() for number in range(size)])
