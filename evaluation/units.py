"""Users, requests and rows: groups by id, and the units that a bootstrap draws with everything that belongs to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

Resample = Literal["user", "request", "row"]
RESAMPLES: tuple[Resample, ...] = get_args(Resample)
"""From large to small: what lacks an id of one kind is drawn as the next."""
MISSING = -1
"""Stands for a missing id among numbers, and for no group among indices."""


@dataclass(frozen=True)
class Units:
    """The units of a bootstrap: all rows of one unit are drawn together.

    Args:
      index: unit of each row, from 0 without gaps, `[n]`.
      kinds: number of units of each kind.
    """

    index: np.ndarray
    kinds: Mapping[Resample, int]

    def __len__(self) -> int:
        return sum(self.kinds.values())

    def counts(self) -> dict[str, float]:
        """Returns the number of units of each kind as `resampled_users`, `resampled_requests`, `resampled_rows`."""
        return {f"resampled_{kind}s": float(count) for kind, count in self.kinds.items() if count}


def units_of(
    size: int,
    groups: Mapping[Resample, np.ndarray],
    resample: Resample | None = None,
    smallest: Resample = "row",
) -> Units:
    """Returns the units of rows: users wherever users are known, as the rows of one user are not independent.

    A row without an id of the chosen kind is drawn with its request, and without a request by itself.

    Args:
      size: number of rows, n.
      groups: index of each row's user and request, from 0 without gaps, -1 = missing, `[n]` each.
      resample: the kind; None: the largest one with ids.
      smallest: the kind that a single row is.

    Raises:
      ValueError: no such kind, or no row has an id of it.
    """
    allowed = RESAMPLES[: RESAMPLES.index(smallest) + 1]
    absent = np.full(size, MISSING)
    if resample is not None and resample not in allowed:
        raise ValueError(f"resample is {resample!r}; expected {' or '.join(allowed)}; choose one of these")
    if resample is not None and resample != smallest and not (groups.get(resample, absent) >= 0).any():
        fix = f"give the ids, or resample {' or '.join(allowed[allowed.index(resample) + 1 :])}"
        raise ValueError(f"resample is {resample!r} and there is no {resample} id; expected some; {fix}")
    index, total, kinds = absent.copy(), 0, dict.fromkeys(allowed, 0)
    for kind in allowed if resample is None else allowed[allowed.index(resample) :]:
        group = np.arange(size) if kind == smallest else groups.get(kind, absent)
        rows = (index < 0) & (group >= 0)
        _, numbers = np.unique(group[rows], return_inverse=True)
        kinds[kind] = int(numbers.max(initial=-1)) + 1
        index[rows] = total + numbers
        total += kinds[kind]
    return Units(index, kinds)


def without_id(kind: str, rows: str, group: np.ndarray | None) -> dict[str, float]:
    """Returns how many rows a metric by some id leaves out, as `<rows>_without_<kind>`; empty if none or all lack it.

    Args:
      kind: `user` or `request`.
      rows: name of the rows.
      group: of each row, -1 = missing; None: no ids at all.
    """
    missing = 0 if group is None else int((group < 0).sum())
    return {f"{rows}_without_{kind}": float(missing)} if group is not None and 0 < missing < len(group) else {}


def group_indices(ids: np.ndarray, size: int) -> np.ndarray:
    """Returns the index of each row's group, from 0 without gaps; -1 where the id is missing.

    Missing are the empty string, -1, None, NaN, NaT, pandas' NA and what an array of `numpy.ma` masks, whatever
    the dtype. Ids of different types, b"1" and "1", are two.

    Args:
      ids: bytes, strings or numbers, `[n]`.
      size: n.

    Raises:
      ValueError: another number of ids, or one that cannot be compared with others, such as a list.
    """
    values = np.asarray(ids)
    if values.shape != (size,):
        raise ValueError(f"ids have shape {values.shape}, expected ({size},); give one id a row")
    index, missing = _of_objects(values) if values.dtype.kind == "O" else _of_one_type(values)
    if isinstance(ids, np.ma.MaskedArray):
        missing |= np.ma.getmaskarray(ids)
    group = np.full(size, MISSING)
    group[~missing] = np.unique(index[~missing], return_inverse=True)[1]
    return group


def without_gaps(group: np.ndarray) -> np.ndarray:
    """Returns group indices numbered from 0 without gaps; -1, which is missing, stays."""
    distinct, index = np.unique(group, return_inverse=True)
    return index - 1 if len(distinct) and distinct[0] < 0 else index


def _of_one_type(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids as they are, and a mask of the missing ones."""
    if ids.dtype.kind in "SU":
        return ids, np.char.str_len(ids) == 0
    if ids.dtype.kind in "mM":
        return ids, np.isnat(ids)
    missing = ids == MISSING if ids.dtype.kind in "if" else np.zeros(len(ids), bool)
    return ids, missing | np.isnan(ids) if ids.dtype.kind == "f" else missing


def _of_objects(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a number for each distinct id, and a mask of the missing ones."""
    numbers: dict[Any, int] = {}
    try:
        index = np.array([numbers.setdefault(one, len(numbers)) for one in ids.tolist()], np.int64)
    except TypeError as error:
        raise ValueError(f"ids: {error}; expected bytes, strings or numbers; give one id a row") from error
    return index, np.array([_is_missing(one) for one in numbers], bool)[index]


def _is_missing(one: Any) -> bool:
    if isinstance(one, bytes | str):
        return not one
    try:
        # NaN and NaT are not equal to themselves.
        return one is None or bool(one != one) or bool(one == MISSING)
    except TypeError:
        return True  # pandas' NA does not say whether it is equal to itself.
