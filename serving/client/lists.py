"""Lists of unlike lengths as the arrays that a request holds, without TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving import tensors
from transforms.features import MISSING_INT, MISSING_STRING

MISSING: dict[str, Any] = {"string": MISSING_STRING, "int64": MISSING_INT, "float32": float("nan")}
"""Missing markers by the dtypes of columns."""


def padded_lists(values: Any, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Lists as an array `[B, N]`, and their lengths `[B]`.

    None is a missing element, wherever it stands. A missing marker at the end is padding, as it is without lengths.

    Args:
      values: an array `[B, N]`, or lists of any lengths.
      dtype: `string`, `int64` or `float32`.

    Raises:
      ValueError: no lists.
    """
    is_array = isinstance(values, np.ndarray) and values.ndim == 2
    if is_array and (values.dtype != object or None not in values.ravel().tolist()):
        array = tensors.as_array(values)
        return array, _lengths(array)
    rows, marker = [_row(row) for row in values], MISSING[dtype]
    lengths = [max(_last_none(row), _last_real(row, dtype)) for row in rows]
    width = max(map(len, rows), default=0)
    full = [[marker if one is None else one for one in row] + [marker] * (width - len(row)) for row in rows]
    array = tensors.as_array(full) if width else np.empty([len(rows), 0], object if dtype == "string" else dtype)
    return array, np.array(lengths, np.int64)


def _lengths(array: np.ndarray) -> np.ndarray:
    """Returns for each row of an array the place of its last element that is no missing marker, 0 for none."""
    if array.dtype == object:
        real = array != MISSING_STRING
    else:
        real = np.isfinite(array) if array.dtype.kind == "f" else array != MISSING_INT
    last = array.shape[1] - np.argmax(real[:, ::-1], axis=1) if array.shape[1] else np.zeros(len(array), np.int64)
    return np.where(real.any(axis=1), last, 0)


def _row(values: Any) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"received {values!r}; expected a list of values for each record; nest the lists so")
    return list(values)


def _last_none(row: Sequence[Any]) -> int:
    return max((place for place, one in enumerate(row, 1) if one is None), default=0)


def _last_real(row: Sequence[Any], dtype: str) -> int:
    """Returns the place of the last element that is neither None nor a missing marker; 0 for none."""
    return max((place for place, one in enumerate(row, 1) if one is not None and _is_real(one, dtype)), default=0)


def _is_real(one: Any, dtype: str) -> bool:
    if dtype == "string":
        return one not in ("", b"")
    if dtype == "int64":
        return bool(one != MISSING_INT)
    return not isinstance(one, float | np.floating) or bool(np.isfinite(one))


def padded_ids(lists: Sequence[Sequence[Any]]) -> np.ndarray:
    """Ids `[B, E]`, padded with the missing marker: of text the empty one, of numbers -1."""
    for ids in lists:
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence | np.ndarray):
            raise ValueError(f"exclude: received {ids!r}; expected a list of ids for each user, or one list for all")
    numbers = any(isinstance(one, int | np.integer) for ids in lists for one in ids)
    array = np.full(
        [len(lists), max(map(len, lists), default=0)], -1 if numbers else b"", np.int64 if numbers else object
    )
    for row, ids in enumerate(lists):
        array[row, : len(ids)] = ids
    return array
