"""Items of a cascade: the columns of the version that returned them, and popular ones where no version answers."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.lists import MISSING
from serving.retrieval.item_table import ItemTable, read_items
from serving.versions import scan
from transforms.errors import InputError
from transforms.features import ITEM_ID, MISSING_INT, MISSING_STRING

_MOST_TABLES = 3
"""Of the version that answers, the next one, and the one before, which calls under way may still name."""
_AGAIN_S = 1.0
"""Time until a table that could not be read is read again."""
_POPULAR_S, _CALLS_TO_HALVE, _MOST_POPULAR = 1.0, 1000, 10_000


class ItemTables:
    """Reads the tables of versions when their folders appear, in a thread of its own.

    Args:
      folder: of a two-tower model's numbered versions.
      poll_s: seconds between two looks for new versions.
    """

    def __init__(self, folder: Path, poll_s: float = 1.0):
        self._folder, self._poll_s = folder, poll_s
        self._tables: dict[int, Future[ItemTable]] = {}
        self._failed: dict[int, tuple[float, BaseException]] = {}
        self._lock, self._stopped, self._any = threading.Lock(), threading.Event(), threading.Event()
        self._reader = ThreadPoolExecutor(1, "item-tables")
        self._newest: ItemTable | None = None
        self._watch = threading.Thread(target=self._follow, name="item-versions", daemon=True)
        self._watch.start()

    def of(self, version: int, timeout_s: float) -> ItemTable:
        """Returns the table of a version.

        Raises:
          InputError: the version has none, or it is not read in time; later calls try again.
        """
        try:
            return self._reading(version).result(max(0.0, timeout_s))
        except NotInTime:
            where = f"items of version {version} in {self._folder}"
            raise InputError(where, "a table that is still being read", "one in memory", "ask again later") from None

    def newest(self, timeout_s: float = 0.0) -> ItemTable | None:
        """Returns the table that was read last; None if none is read in time."""
        self._any.wait(timeout_s)
        return self._newest

    def close(self) -> None:
        """Ends the threads."""
        self._stopped.set()
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _reading(self, version: int) -> "Future[ItemTable]":
        with self._lock:
            known = self._tables.pop(version, None)
            if known is None:
                when, error = self._failed.get(version, (-_AGAIN_S, None))
                if error is not None and time.monotonic() - when < _AGAIN_S:
                    known = Future()
                    known.set_exception(error)
                    return known
                known = self._reader.submit(self._read, version)
            # The last one is the one that was asked for last.
            self._tables[version] = known
            for old in list(self._tables)[:-_MOST_TABLES]:
                del self._tables[old]
            return known

    def _read(self, version: int) -> ItemTable:
        try:
            folders = scan(self._folder)
            if version not in folders:
                received = f"versions {', '.join(map(str, folders)) or 'none'}"
                fix = "point `folder` of the first stage to the versions that its server loads"
                raise InputError(str(self._folder), received, f"version {version}, which answered", fix)
            table = read_items(folders[version])
        except (OSError, ValueError) as error:
            with self._lock:
                self._tables.pop(version, None)
                self._failed[version] = time.monotonic(), error
            if isinstance(error, InputError):
                raise
            raise InputError(str(self._folder), str(error), "readable versions", "correct `folder`") from error
        self._failed.pop(version, None)
        self._newest = table
        self._any.set()
        return table

    def _follow(self) -> None:
        while True:
            try:
                newest = max(scan(self._folder), default=None)
                with self._lock:
                    is_new = newest is not None and newest not in self._tables
                if is_new and newest is not None:
                    self._reading(newest)
            except (OSError, RuntimeError):
                pass  # The folder may appear later; or the reader has been shut down.
            if self._stopped.wait(self._poll_s):
                return


def columns_of(table: ItemTable | None, ids: np.ndarray, names: Set[str]) -> tuple[dict[str, np.ndarray], int]:
    """Returns the columns of items, and how many the table lacks: their columns are missing values.

    Args:
      table: None has no items and no columns.
      ids: `[n]`.
      names: the columns to return, as far as the table has them.
    """
    if table is None or not len(table):
        return {}, len(ids)
    places = table.places(ids)
    lacking = places < 0
    columns = {name: values[places] for name, values in table.columns.items() if name in names}
    if lacking.any():
        for values in columns.values():
            values[lacking] = _marker(values)
    return columns, int(lacking.sum())


def missing_values(dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Returns an array of missing markers.

    Raises:
      KeyError: columns do not have this type.
    """
    return np.full(shape, MISSING[dtype], object if dtype == "string" else dtype)


def _marker(values: np.ndarray) -> Any:
    kinds: Mapping[str, Any] = {"O": MISSING["string"], "i": MISSING["int64"], "f": MISSING["float32"]}
    return kinds[values.dtype.kind]


class PopularItems:
    """Items for users whose retrieval failed: of a list, or those that were retrieved most often of late.

    Args:
      ids: the list, best first; None: count what is retrieved.
    """

    def __init__(self, ids: Sequence[Any] | None):
        self._fixed = None if ids is None else _array(ids)
        self._counts: Counter[Any] = Counter()
        self._calls, self._best, self._read_at = 0, np.array([], object), -_POPULAR_S
        self._lock = threading.Lock()

    def note(self, ids: np.ndarray) -> None:
        """Counts retrieved ids, of any shape."""
        if self._fixed is not None:
            return
        with self._lock:
            self._counts.update(ids.reshape(-1).tolist())
            self._calls += 1
            if self._calls % _CALLS_TO_HALVE == 0:
                self._counts = Counter({one: count // 2 for one, count in self._counts.items() if count > 1})

    def best(self, table: ItemTable | None) -> np.ndarray:
        """Returns ids; before the first answer those of a table, in its order."""
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            if time.monotonic() - self._read_at >= _POPULAR_S:
                known = [
                    one
                    for one, _ in self._counts.most_common(_MOST_POPULAR)
                    if one not in (MISSING_STRING, MISSING_INT)
                ]
                self._best, self._read_at = _array(known), time.monotonic()
            if len(self._best):
                return self._best
        return table.columns[ITEM_ID] if table is not None else self._best


def _array(ids: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(ids), object if not ids or isinstance(ids[0], bytes) else np.int64)
    array[:] = ids
    return array
