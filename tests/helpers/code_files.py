"""Arrow files that make a folder when they are read by a pyarrow that trusts them."""

import os
import warnings
from pathlib import Path

from transforms.arrow import feather, pa, pq


class Runs(pa.PyExtensionType):
    """An integer type whose pickle makes a folder. pyarrow writes the pickle, and up to 14 loads it."""

    def __init__(self, mark: str):
        self._mark = mark
        with warnings.catch_warnings():
            # From pyarrow 14 on it warns that it will not read what is written here.
            warnings.simplefilter("ignore", FutureWarning)
            pa.PyExtensionType.__init__(self, pa.int64())

    def __reduce__(self):
        return os.mkdir, (self._mark,)


def with_code(table: pa.Table, mark: Path, nested: bool = False) -> pa.Table:
    """The table with one more column, whose type makes the folder `mark` when it is read."""
    column = pa.ExtensionArray.from_storage(Runs(str(mark)), pa.array(range(table.num_rows), pa.int64()))
    return table.append_column("extra", pa.StructArray.from_arrays([column], ["inner"]) if nested else column)


def write_parquet_with_code(path: Path, table: pa.Table, mark: Path, nested: bool = False) -> None:
    """A Parquet file of `with_code`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(with_code(table, mark, nested), path)


def write_feather_with_code(path: Path, table: pa.Table, mark: Path, nested: bool = False) -> None:
    """A Feather file of `with_code`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(with_code(table, mark, nested), str(path))
