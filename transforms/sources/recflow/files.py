"""RecFlow's raw files: days of candidates, and histories."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from transforms.arrow import ipc, pa, reading
from transforms.errors import InputError
from transforms.features import Split
from transforms.sources.recflow.schema import (
    HISTORIES,
    HISTORY_COLUMNS,
    HISTORY_LENGTH,
    ID_COUNTS,
    ITEM_IDS,
    ITEM_NUMBERS,
    KEYS,
    PERIODS,
    STAGES,
    USER_IDS,
    UTC_OFFSET,
    RecflowOptions,
)
from transforms.sources.restricted_pickle import load_plain
from transforms.splits import mixed_bits

ROWS_PER_PIECE = 500_000
"""Rows in memory at once, about; a day of the full data set has some 50 million."""

Rows = dict[str, np.ndarray]
_DAY_MS = 86_400_000
_AGAIN = "get the file again"
_COUNT_NAMES = {"photo_id": "video_id"}
"""The counts of `id_cnt.pkl` go by two names for videos."""


def feather_path(input_dir: str | os.PathLike[str], day: str, options: RecflowOptions) -> Path:
    """The feather file of a day."""
    return Path(input_dir) / options.folder / f"{day}.feather"


def history_path(input_dir: str | os.PathLike[str], day: str) -> Path:
    """The pickle with a day's histories."""
    return Path(input_dir) / HISTORIES / f"{day}.pkl"


def split_days(input_dir: str | os.PathLike[str], options: RecflowOptions) -> dict[str, Split]:
    """The days that an import reads, in order, with their splits.

    Raises:
      InputError: no such folder, a file that is not named after a day, or days are missing.
    """
    folder = Path(input_dir) / options.folder
    if not folder.is_dir():
        raise InputError(str(folder), "no such directory", "a directory of <day>.feather", "correct --input")
    days = sorted(path.stem for path in folder.glob("*.feather"))
    for name in days:
        _start_ms(name, folder)
    if options.splits in PERIODS:
        first, last = (date.fromisoformat(day) for day in PERIODS[options.splits])
        wanted = [(first + timedelta(days=i)).isoformat() for i in range((last - first).days + 1)]
        missing = [day for day in wanted if day not in days]
        if missing:
            received = f"{len(missing)} of {len(wanted)} days missing, the first {missing[0]}"
            fix = "get the files, or choose splits=files"
            raise InputError(str(folder), received, f"each day from {first} to {last}", fix)
        days = wanted
    if len(days) < 3:
        raise InputError(str(folder), f"{len(days)} days", "3 or more: train, eval, test", "get more days")
    splits: dict[str, Split] = dict.fromkeys(days, "train")
    return splits | {days[-2]: "eval", days[-1]: "test"}


def check_day(input_dir: str | os.PathLike[str], day: str, options: RecflowOptions) -> None:
    """Looks at a day's files without reading their content: columns, types, rows; and that histories are there.

    Raises:
      InputError: what is wrong.
    """
    path = feather_path(input_dir, day, options)
    schema = open_feather(path).schema
    for name in options.columns:
        if name not in schema.names:
            fix = "use the files of RecFlow, or write the column under this name"
            raise InputError(str(path), f"columns {', '.join(schema.names)}", f"a column {name!r}", fix)
        if not pa.types.is_integer(schema.field(name).type):
            fix = "write the column as integers; a column becomes float where values are missing"
            raise InputError(f"{path}, field {name}", schema.field(name).type, "an integer type", fix)
    if not any(batch.num_rows for _, batch in _batches(path, KEYS[:1])):
        raise InputError(str(path), "no rows", "at least one row", _AGAIN)
    histories = history_path(input_dir, day)
    if not histories.is_file():
        raise InputError(str(histories), "no such file", f"a pickle of histories for {path.name}", "get the file")


def open_feather(path: Path, fields: list[int] | None = None) -> ipc.RecordBatchFileReader:
    """Opens a feather file (version 2, which is Arrow's file format) without reading its rows.

    Args:
      path: the file.
      fields: columns that its batches shall have, by index; None: all.

    Raises:
      InputError: it is missing or not such a file.
    """
    with reading(path, "a file that is not feather", "a feather file, version 2"):
        return ipc.open_file(pa.memory_map(str(path)), options=ipc.IpcReadOptions(included_fields=fields))


def row_count(path: Path) -> int:
    """Rows of a feather file."""
    return sum(batch.num_rows for _, batch in _batches(path, KEYS[:1]))


def id_limits(input_dir: str | os.PathLike[str]) -> dict[str, int]:
    """Largest id of each column by `others/id_cnt.pkl`; empty where there is no such file.

    The official tables have count + 2 rows for ids shifted by 1, so an id is at most its count.

    Raises:
      InputError: the file holds something else.
    """
    path = Path(input_dir) / ID_COUNTS
    if not path.is_file():
        return {}
    counts = load_plain(path, "counts by name of column")
    if not isinstance(counts, dict) or not all(
        isinstance(name, str) and isinstance(count, int | np.integer) for name, count in counts.items()
    ):
        raise InputError(str(path), type(counts).__name__, "a dict of integers by name of column", _AGAIN)
    return {str(_COUNT_NAMES.get(name, name)): int(count) for name, count in counts.items()}


def pieces(path: Path, day: str, options: RecflowOptions, limits: dict[str, int], size: int) -> Iterator[Rows]:
    """The rows of a day, checked, in pieces of about `size` rows that hold whole requests, in order of time.

    Rows of a request need not stand together in the file: the day is spread over temporary files by the
    time of the request, once, and each is read back.

    Args:
      path: the feather file.
      day: e.g. `2024-01-13`; a day of UTC+8.
      options: which columns, and which share of the requests.
      limits: largest ids, of `id_limits`.
      size: rows that a piece should hold, 1 or more.

    Raises:
      InputError: a value is missing or impossible; file, row (from 1) and field are named.
    """
    count = max(1, -(-row_count(path) // size))
    start = _start_ms(day, path)
    with tempfile.TemporaryDirectory(prefix="consort-recflow-") as folder, ExitStack() as stack:
        sinks: dict[int, ipc.RecordBatchFileWriter] = {}
        for first, batch in _batches(path, options.columns):
            rows = _checked(path, first, batch, options, limits, start)
            piece = np.clip((rows["request_timestamp"] - start) * count // _DAY_MS, 0, count - 1)
            for number in np.unique(piece):
                table = pa.RecordBatch.from_pydict({name: values[piece == number] for name, values in rows.items()})
                if number not in sinks:
                    target = os.path.join(folder, f"{number:06d}.arrow")
                    lz4 = ipc.IpcWriteOptions(compression="lz4")
                    sinks[number] = stack.enter_context(ipc.new_file(target, table.schema, options=lz4))
                sinks[number].write_batch(table)
        stack.close()
        for number in sorted(sinks):
            with pa.OSFile(os.path.join(folder, f"{number:06d}.arrow")) as file:
                table = ipc.open_file(file).read_all()
            yield {name: table[name].to_numpy() for name in table.column_names}


def _start_ms(day: str, where: Path) -> int:
    """First millisecond of a day in UTC+8."""
    try:
        midnight = datetime.fromisoformat(day)
    except ValueError as error:
        expected = "files named after days, e.g. 2024-01-13.feather"
        raise InputError(str(where), f"a file {day!r}", expected, "rename it or move it away") from error
    return (int(midnight.replace(tzinfo=UTC).timestamp()) - UTC_OFFSET) * 1000


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Record batches of some columns of a feather file, with the number of rows before each."""
    schema = open_feather(path).schema
    reader, first = open_feather(path, [schema.get_field_index(name) for name in columns]), 0
    for index in range(reader.num_record_batches):
        with reading(f"{path}, after row {first}", "damaged rows", "a whole file"):
            batch = reader.get_batch(index)
            batch.validate(full=True)
        yield first, batch
        first += batch.num_rows


def _checked(
    path: Path, first: int, batch: pa.RecordBatch, options: RecflowOptions, limits: dict[str, int], start: int
) -> Rows:
    """Columns of a batch as int64, checked; requests outside `request_share` are left out."""

    def refuse(bad: np.ndarray, field: str, values: np.ndarray, expected: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            where = f"{path}, row {first + row + 1}, field {field}"
            raise InputError(where, values[row], expected, "repair or remove the row")

    rows: Rows = {}
    for name in options.columns:
        column = batch.column(batch.schema.get_field_index(name))
        if column.null_count:
            empty = column.is_null().to_numpy(zero_copy_only=False)
            refuse(empty, name, np.full(len(empty), "nothing"), "a value")
        rows[name] = column.to_numpy(zero_copy_only=False).astype(np.int64)
    for name in KEYS:
        refuse(rows[name] < 0, name, rows[name], "a number of 0 or more")
    for name in STAGES:
        refuse((rows[name] != 0) & (rows[name] != 1), name, rows[name], "0 or 1")
    label = rows[options.label]
    refuse((rows["realshow"] == 1) & (label != 0) & (label != 1), options.label, label, "0 or 1")
    for name in (*USER_IDS, *ITEM_IDS, *ITEM_NUMBERS):
        refuse(rows[name] < -1, name, rows[name], "a number of 0 or more, or -1 for none")
    for name in ("user_id", "video_id", *USER_IDS, "author_id", "category_level_two", "upload_type"):
        if name in limits:
            refuse(rows[name] > limits[name], name, rows[name], f"an id of at most {limits[name]}, as {ID_COUNTS} says")
    somewhere = np.max([rows[name] for name in STAGES], axis=0)
    refuse(somewhere == 0, "/".join(STAGES), np.zeros(batch.num_rows, np.int64), "1 in at least one of these stages")
    milliseconds = rows["request_timestamp"]
    outside = (milliseconds < start - _DAY_MS) | (milliseconds >= start + 2 * _DAY_MS)
    refuse(outside, "request_timestamp", milliseconds, f"milliseconds within a day of {path.stem} (UTC+8)")
    if options.request_share == 1.0:
        return rows
    kept = _share(rows["request_id"], options.seed) < options.request_share
    return {name: values[kept] for name, values in rows.items()}


def _share(ids: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) for each request, by its id and the seed alone."""
    with np.errstate(over="ignore"):
        bits = mixed_bits(ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed))
    share: np.ndarray = (bits >> np.uint64(11)).astype(np.float64) / (1 << 53)
    return share


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
        self._asked = self._answered = 0

    def before(self, request_ids: np.ndarray, times_ms: np.ndarray, length: int) -> History:
        """The last views strictly before each request; a request without an entry has none.

        Args:
          request_ids, times_ms: int64 [n].
          length: views at most, the most recent ones.

        Raises:
          InputError: an array has another shape or type.
        """
        entries = [self._array(request) for request in request_ids.tolist()]
        self._asked += len(entries)
        self._answered += sum(array is not None for array in entries)
        empty = np.zeros((0, len(HISTORY_COLUMNS)), np.int64)
        arrays = [empty if array is None else array for array in entries]
        views = np.concatenate([empty, *arrays]).astype(np.int64)
        owner = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
        # A view at the time of the request, or after, would give away the label.
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
        if self._asked and not self._answered:
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
