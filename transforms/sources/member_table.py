"""What is known of users or items, by id: a raw table in memory, whose unknown ids find the missing markers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.features import MISSING_INT, MISSING_STRING
from transforms.sources.text_format import TextFormat
from transforms.sources.text_table import Converted, text_rows


class MemberTable:
    """Columns by id.

    Args:
      ids: int64 [n], each once.
      columns: [n] each: int64, float32, bytes or Arrow strings.
    """

    def __init__(self, ids: np.ndarray, columns: Mapping[str, Converted]):
        order = np.argsort(ids)
        self._ids = ids[order]
        # An unknown id finds the last element.
        self._columns = {name: _Column(values, order) for name, values in columns.items()}

    def at(self, ids: np.ndarray, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Columns of some members, [n] each; markers of missing values where an id is unknown.

        Args:
          ids: int64 [n].
          names: which columns; None: all.
        """
        place = np.searchsorted(self._ids, ids)
        if len(self._ids):
            known = self._ids[np.minimum(place, len(self._ids) - 1)] == ids
            place = np.where(known, place, len(self._ids))
        return {name: self._columns[name].at(place) for name in (self._columns if names is None else names)}


class _Column:
    """Values in order of id, the marker last; of bytes each distinct value is held once."""

    def __init__(self, values: Converted, order: np.ndarray):
        self._distinct: np.ndarray | None = None
        if isinstance(values, pa.Array):
            coded = values.dictionary_encode()
            texts = coded.dictionary.to_numpy(zero_copy_only=False).astype(str)
            self._distinct = np.append(np.char.encode(texts), MISSING_STRING)
            values = coded.indices.to_numpy()
        elif values.dtype.kind == "S":
            distinct, values = np.unique(values, return_inverse=True)
            self._distinct = np.append(distinct, MISSING_STRING)
        marker: float = np.nan if values.dtype.kind == "f" else MISSING_INT
        if self._distinct is not None:
            marker = len(self._distinct) - 1
        self._values = np.append(values[order], np.array([marker], values.dtype))

    def at(self, place: np.ndarray) -> np.ndarray:
        found = self._values[place]
        return found if self._distinct is None else self._distinct[found]


def read_members(path: Path, text_format: TextFormat, key: str) -> tuple[np.ndarray, dict[str, Converted]]:
    """Reads a table whole.

    Args:
      path: the file.
      text_format: what stands in it.
      key: the field of the ids.

    Returns:
      Ids int64 [n], and the other fields by name.

    Raises:
      InputError: a line is malformed, or an id stands in two.
    """
    parts: dict[str, list[Converted]] = {name: [] for name in text_format.fields}
    for rows in text_rows(path, text_format):
        for name, values in parts.items():
            values.append(rows.values(name))
    columns = {name: _joined(values) for name, values in parts.items()}
    ids = np.asarray(columns.pop(key))
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(again):
        row = int(order[again + 1].min())
        where = f"{path}, line {row + 1 + text_format.header_lines}, field {key}"
        raise InputError(where, f"{ids[row]} again", f"each {key} once", "remove the repeated line")
    return ids, columns


def _joined(parts: list[Converted]) -> Converted:
    if not parts:
        return np.zeros(0, np.int64)
    return pa.concat_arrays(parts) if isinstance(parts[0], pa.Array) else np.concatenate(parts)
