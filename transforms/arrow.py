"""pyarrow, made safe before its first use: the one place from which Consort imports it.

Up to pyarrow 14, reading a Parquet or Feather file unpickles the types that the file declares, which runs whatever
function the file names (CVE-2023-47248). Importing `pyarrow_hotfix` takes that away for the whole process: for
TensorFlow Data Validation, Beam and pandas as well.
"""

# ruff: noqa: TID251 - everywhere else a bare import of pyarrow is an error.

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow_hotfix
from pyarrow import csv, feather, ipc

from transforms.errors import InputError

__all__ = ["csv", "feather", "ipc", "joined_tables", "pa", "pc", "pq", "reading"]

pyarrow_hotfix.install()

_PICKLED_TYPE = "arrow.py_extension_type"
# pyarrow 14 renamed the option, and warns of the earlier name.
_PROMOTE = {"promote_options": "default"} if int(pa.__version__.split(".")[0]) >= 14 else {"promote": True}


def joined_tables(tables: Iterable[pa.Table]) -> pa.Table:
    """Returns the rows of tables as one; a column that a table lacks is null there.

    Args:
      tables: with equal types in columns of equal names; at least one.
    """
    return pa.concat_tables(list(tables), **_PROMOTE)


@contextmanager
def reading(
    where: str | os.PathLike[str], received: str, expected: str, fix: str = "get the file again"
) -> Iterator[None]:
    """Turns whatever pyarrow raises on a file into one error.

    Args:
      where: the file, and the place in it.
      received: what the file is if it cannot be read, e.g. "a file that is not parquet".
      expected: what it should be.
      fix: what to do.

    Raises:
      InputError: pyarrow raised, or the file declares a type by a pickle; nothing of it was run.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(str(where), "no such file", expected, fix) from error
    except (pa.ArrowException, OSError, RuntimeError, ValueError, MemoryError) as error:
        if _PICKLED_TYPE in str(error):
            pickled = f"a column whose type is a pickle ({_PICKLED_TYPE}), which could run code; nothing was run"
            advice = "do not open this file with another reader either; get it from its publisher"
            raise InputError(str(where), pickled, expected, advice) from error
        raise InputError(str(where), f"{received} ({_first_line(error)})", expected, fix) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
