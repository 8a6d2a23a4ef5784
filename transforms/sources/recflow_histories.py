"""RecFlow's histories: a day's pickle of one array a request, cut to what was known at the request."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transforms.errors import InputError
from transforms.sources.recflow_options import HISTORY_COLUMNS, HISTORY_LENGTH
from transforms.sources.restricted_pickle import load_plain

_TIME = HISTORY_COLUMNS.index("time_ms")
_EXPECTED = f"integer arrays of at most {HISTORY_LENGTH} rows and {len(HISTORY_COLUMNS)} columns by request_id"


@dataclass(frozen=True)
class History:
    """Views of some requests: those of i are `columns[name][offsets[i]:offsets[i + 1]]`, the latest last."""

    columns: dict[str, np.ndarray]
    offsets: np.ndarray


class Histories:
    """The histories of one day, in memory.

    Args:
      path: the pickle.

    Raises:
      InputError: it is missing, damaged, names a function, or is not a dict.
    """

    def __init__(self, path: Path):
        self._path = path
        content = load_plain(path, _EXPECTED)
        if not isinstance(content, dict):
            raise InputError(str(path), type(content).__name__, f"a dict of {_EXPECTED}", "get the file again")
        self._arrays: dict[Any, Any] = content
        self._asked = self._found = 0

    def before(self, request_ids: np.ndarray, times_ms: np.ndarray, length: int) -> History:
        """The last views strictly before each request; a request without an entry has none.

        Args:
          request_ids, times_ms: int64 [n].
          length: at most so many views, the most recent.

        Raises:
          InputError: an array has another shape or type.
        """
        found = [self._array(request) for request in request_ids.tolist()]
        self._asked += len(found)
        self._found += sum(array is not None for array in found)
        empty = np.zeros((0, len(HISTORY_COLUMNS)), np.int64)
        arrays = [empty if array is None else array for array in found]
        views = np.concatenate([empty, *arrays]).astype(np.int64)
        owner = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
        # A view at the time of the request, or after, would tell the label.
        known = (views[:, _TIME] > 0) & (views[:, _TIME] < times_ms[owner])
        views, owner = views[known], owner[known]
        order = np.lexsort((views[:, _TIME], owner))
        views, owner = views[order], owner[order]
        ends = np.searchsorted(owner, np.arange(len(arrays)), "right")
        recent = ends[owner] - np.arange(len(owner)) <= length
        views, owner = views[recent], owner[recent]
        offsets = np.searchsorted(owner, np.arange(len(arrays) + 1))
        return History({name: views[:, index] for index, name in enumerate(HISTORY_COLUMNS)}, offsets)

    def check_used(self) -> None:
        """Looks, after the last request, whether any had an entry.

        Raises:
          InputError: none had: the file belongs to another day.
        """
        if self._asked and not self._found:
            received = f"no entry for any of {self._asked} requests"
            raise InputError(str(self._path), received, "histories of the requests of its day", "get the file again")

    def _array(self, request: int) -> np.ndarray | None:
        array = self._arrays.get(request)
        if array is None:
            return None
        if not isinstance(array, np.ndarray):
            self._refuse(request, type(array).__name__)
        elif array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != len(HISTORY_COLUMNS):
            self._refuse(request, f"an array of type {array.dtype} and shape {array.shape}")
        elif len(array) > HISTORY_LENGTH:
            self._refuse(request, f"{len(array)} rows")
        return array

    def _refuse(self, request: int, received: str) -> None:
        raise InputError(f"{self._path}, request {request}", received, _EXPECTED, "get the file again")
