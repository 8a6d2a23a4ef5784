"""Raw columns of items by id, which a client adds to retrieved ids for later stages."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transforms.errors import InputError
from transforms.features import ITEM_ID

ITEMS = os.path.join("assets.extra", "items.parquet")


class ItemTable:
    """Items in memory.

    Args:
      columns: by name `[n]` or `[n, W]`, of equal lengths, `item_id` among them; ids are distinct.
    """

    def __init__(self, columns: Mapping[str, np.ndarray]):
        self.columns = dict(columns)
        self._places = {item: place for place, item in enumerate(self.columns[ITEM_ID].tolist())}

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, ids: Sequence[Any] | np.ndarray) -> dict[str, np.ndarray]:
        """Returns all columns of some items, in the order of `ids`.

        Raises:
          InputError: an id is not in the table.
        """
        places = self.places(ids)
        if (places < 0).any():
            unknown = np.asarray(ids).tolist()[int(np.argmax(places < 0))]
            fix = "read the table of the version that answered"
            raise InputError("item table", repr(unknown), f"one of its {len(self):,} ids", fix)
        return {name: values[places] for name, values in self.columns.items()}

    def places(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Returns the row of each id; -1 for one that is not in the table."""
        known = self._places
        return np.array([known.get(one, -1) for one in np.asarray(ids).tolist()], np.int64)


def write_items(version: str | os.PathLike[str], columns: Mapping[str, np.ndarray]) -> None:
    """Writes the table beside an exported model."""
    from transforms.arrow import pa, pq

    path = Path(version) / ITEMS
    path.parent.mkdir(parents=True, exist_ok=True)

    def stored(values: np.ndarray) -> Any:
        if values.ndim == 2:
            return pa.FixedSizeListArray.from_arrays(stored(values.reshape(-1)), values.shape[1])
        return pa.array(values.tolist(), pa.binary()) if values.dtype == object else pa.array(values)

    pq.write_table(pa.table({name: stored(values) for name, values in columns.items()}), path)


def read_items(version: str | os.PathLike[str]) -> ItemTable:
    """Reads the table of an exported two-tower model.

    Raises:
      InputError: it has none, or a damaged one.
    """
    from transforms.arrow import pq, reading

    path = Path(version) / ITEMS
    fix = "name a version of a two-tower model that was exported with its catalogue"
    with reading(path, "no intact table", "the items of a version", fix):
        table = pq.read_table(path)
        table.validate(full=True)
    return ItemTable({name: _array(table.column(name)) for name in table.column_names})


def _array(column: Any) -> np.ndarray:
    if width := getattr(column.type, "list_size", 0):
        return _array(column.combine_chunks().flatten()).reshape(-1, width)
    if str(column.type) == "binary":
        values = np.empty(len(column), object)
        values[:] = column.to_pylist()
        return values
    array: np.ndarray = np.asarray(column)
    return array
