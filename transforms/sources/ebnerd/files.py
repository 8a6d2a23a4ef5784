"""EB-NeRD's raw files as arrays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from transforms.arrow import pa, pq, reading
from transforms.errors import InputError
from transforms.sources.ebnerd.schema import EbnerdOptions

Table = TypeVar("Table", "Impressions", "Reads")


@dataclass(frozen=True)
class Impressions:
    """Lists shown: one element of each array for a list, but `items` and `clicked` by `offsets`.

    Args:
      ids, times, users: int64 [n]; times in seconds.
      click_times: int64 [n], when a click on the list would have happened.
      devices, on_page, subscriber, sso: int64 [n].
      offsets: int64 [n + 1], the list of i is `items[offsets[i]:offsets[i + 1]]`.
      items: int64, articles shown, each once in a list.
      clicked: bool, as `items`.
    """

    ids: np.ndarray
    times: np.ndarray
    users: np.ndarray
    click_times: np.ndarray
    devices: np.ndarray
    on_page: np.ndarray
    subscriber: np.ndarray
    sso: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    clicked: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def owner(self) -> np.ndarray:
        """The list of each element of `items`, int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, index: np.ndarray) -> "Impressions":
        """The lists at `index`, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.repeat(self.offsets[index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        scalars = {name: getattr(self, name)[index] for name in _SCALARS}
        return Impressions(**scalars, offsets=offsets, items=self.items[flat], clicked=self.clicked[flat])

    @staticmethod
    def joined(parts: Iterable["Impressions"]) -> "Impressions":
        """All lists in order of time, then id."""
        parts = list(parts)
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*_SCALARS, *_LISTS)}
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        every = Impressions(**joined, offsets=offsets)
        return every.take(np.lexsort((every.ids, every.times)))


_LISTS = ("items", "clicked")
_SCALARS = tuple(field.name for field in fields(Impressions) if field.name not in ("offsets", *_LISTS))


@dataclass(frozen=True)
class Reads:
    """Articles read by users: int64 arrays [n]; times in seconds."""

    users: np.ndarray
    times: np.ndarray
    items: np.ndarray

    def take(self, index: np.ndarray) -> "Reads":
        """The reads at `index`."""
        return Reads(self.users[index], self.times[index], self.items[index])

    @staticmethod
    def joined(parts: Iterable["Reads"]) -> "Reads":
        """All reads, by user, time and article."""
        none = np.zeros(0, np.int64)
        parts = [Reads(none, none, none), *parts]
        joined = Reads(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Reads)))
        return joined.take(np.lexsort((joined.items, joined.times, joined.users)))


def parts_of(table: Table, users: np.ndarray, partitions: int) -> Iterator[tuple[str, Table]]:
    """A table by partition of its users, `00000` and so on; `users` is int64 by element."""
    part = users % partitions
    for number in np.unique(part):
        yield f"{number:05d}", table.take(np.flatnonzero(part == number))


_INTEGER, _TIME, _NUMBER, _FLAG = "integer", "timestamp", "number", "boolean"
_IDS, _TIMES = "integer list", "timestamp list"
_BEHAVIORS = {
    "impression_id": _INTEGER,
    "impression_time": _TIME,
    "user_id": _INTEGER,
    "article_id": _INTEGER,
    "read_time": _NUMBER,
    "device_type": _INTEGER,
    "is_sso_user": _FLAG,
    "is_subscriber": _FLAG,
    "article_ids_inview": _IDS,
    "article_ids_clicked": _IDS,
}
_HISTORY = {"user_id": _INTEGER, "article_id_fixed": _IDS, "impression_time_fixed": _TIMES}
_LONGEST_PAGE_VIEW = 86_400
_LARGEST_ID = (1 << 31) - 1


@dataclass(frozen=True)
class RowGroup:
    """One row group of a parquet file; `first` rows stand before it."""

    path: str
    index: int
    first: int


def row_groups(path: Path) -> list[RowGroup]:
    """The row groups of a file, in order."""
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    return [RowGroup(str(path), index, sum(sizes[:index])) for index in range(len(sizes)) if sizes[index]]


def row_count(path: Path) -> int:
    """Rows of a file."""
    rows: int = pq.read_metadata(path).num_rows
    return rows


def check_behaviors(path: Path) -> None:
    """Looks at `behaviors.parquet`: columns, types, rows, no impression twice.

    Raises:
      InputError: what is wrong.
    """
    _check_schema(path, _BEHAVIORS)
    ids = np.sort(_column(path, "impression_id").drop_null().to_numpy())
    again = np.flatnonzero(ids[1:] == ids[:-1])
    if len(again):
        where = f"{path}, field impression_id"
        raise InputError(where, f"{ids[again[0]]} twice", "each impression once", "remove the duplicated rows")


def check_history(path: Path) -> None:
    """Looks at `history.parquet`: columns and types.

    Raises:
      InputError: what is wrong.
    """
    _check_schema(path, _HISTORY)


def split_times(path: Path, options: EbnerdOptions) -> tuple[int, int]:
    """First second of `eval` and of `test`.

    Raises:
      InputError: the data covers no more time than evaluation and test take.
    """
    if options.splits == "all_test":
        return 0, 0
    times = _seconds(_column(path, "impression_time").drop_null().combine_chunks())
    test = int(times.max()) + 1 - round(options.test_hours * 3600)
    evaluation = test - round(options.eval_hours * 3600)
    if times.min() >= evaluation:
        hours = (int(times.max()) - int(times.min())) / 3600
        fix = "choose smaller test_hours and eval_hours, or splits=all_test"
        wanted = f"more than test_hours + eval_hours = {options.test_hours + options.eval_hours:g} hours"
        raise InputError(f"{path}, field impression_time", f"{hours:.1f} hours of data", wanted, fix)
    return evaluation, test


def read_behaviors(group: RowGroup, list_size: int | None) -> Impressions:
    """Reads one row group.

    Args:
      group: where it is.
      list_size: longest list allowed; None allows any.

    Raises:
      InputError: a value is missing or impossible; file, record (from 1) and field are named.
    """
    table = _read(group, _BEHAVIORS)
    numbers = {name: _numbers(table, name, group) for name in ("impression_id", "user_id")}
    times = _seconds(_whole(table, "impression_time", group))
    _refuse(times < 0, group, "impression_time", times, "a time after 1970")
    reading = np.nan_to_num(table["read_time"].to_numpy().astype(np.float64), nan=0.0)
    _refuse((reading < 0) | (reading > _LONGEST_PAGE_VIEW), group, "read_time", reading, "0 to 86400 seconds")
    shown_offsets, shown = _ids(table, "article_ids_inview", group)
    clicked_offsets, clicks = _ids(table, "article_ids_clicked", group)
    owner, shown = _unique_in_lists(shown_offsets, shown)
    offsets = np.searchsorted(owner, np.arange(table.num_rows + 1))
    _check_length(offsets, group, list_size)
    click_keys = _keys(np.repeat(np.arange(table.num_rows), np.diff(clicked_offsets)), clicks)
    shown_keys = _keys(owner, shown)
    _check_clicks(click_keys, shown_keys, group)
    return Impressions(
        ids=numbers["impression_id"],
        times=times,
        users=numbers["user_id"],
        click_times=times + np.floor(reading).astype(np.int64),
        devices=table["device_type"].fill_null(-1).to_numpy().astype(np.int64),
        on_page=table["article_id"].is_valid().to_numpy().astype(np.int64),
        subscriber=_flags(table, "is_subscriber"),
        sso=_flags(table, "is_sso_user"),
        offsets=offsets,
        items=shown,
        clicked=np.isin(shown_keys, click_keys),
    )


def read_history(group: RowGroup) -> Reads:
    """Reads one row group.

    Raises:
      InputError: a value is missing or impossible; file, record (from 1) and field are named.
    """
    table = _read(group, _HISTORY)
    users = _numbers(table, "user_id", group)
    offsets, items = _ids(table, "article_id_fixed", group)
    time_offsets, times = _flat(table, "impression_time_fixed", group)
    different = np.diff(offsets) != np.diff(time_offsets)
    _refuse(different, group, "impression_time_fixed", np.diff(time_offsets), "as many times as articles")
    return Reads(np.repeat(users, np.diff(offsets)), _seconds(times), items)


def _check_schema(path: Path, kinds: dict[str, str]) -> None:
    with reading(path, "a file that is not parquet", "a parquet file"):
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    for name, kind in kinds.items():
        if name not in schema.names:
            have = ", ".join(schema.names)
            fix = "use a split with clicks, train or validation"
            raise InputError(str(path), f"columns {have}", f"a column {name!r}", fix)
        if not _is_kind(schema.field(name).type, kind):
            raise InputError(f"{path}, field {name}", schema.field(name).type, f"type {kind}", "get the file again")
    if metadata.num_rows == 0:
        raise InputError(str(path), "no records", "at least one record", "get the file again")


def _column(path: Path, name: str) -> pa.ChunkedArray:
    with reading(f"{path}, field {name}", "a damaged column", "a whole file"):
        return pq.read_table(path, columns=[name]).column(0)


def _is_kind(dtype: pa.DataType, kind: str) -> bool:
    if kind in (_IDS, _TIMES):
        listed = pa.types.is_list(dtype) or pa.types.is_large_list(dtype)
        return listed and _is_kind(dtype.value_type, _INTEGER if kind == _IDS else _TIME)
    if kind == _NUMBER:
        return bool(pa.types.is_floating(dtype) or pa.types.is_integer(dtype))
    tests = {_INTEGER: pa.types.is_integer, _TIME: pa.types.is_timestamp, _FLAG: pa.types.is_boolean}
    return bool(tests[kind](dtype))


def _read(group: RowGroup, kinds: dict[str, str]) -> pa.Table:
    with reading(group.path, "a damaged row group", "a whole file"):
        file = pq.ParquetFile(group.path)
        table = file.read_row_group(group.index, columns=list(kinds), use_threads=False).combine_chunks()
        table.validate(full=True)
    return table


def _refuse(bad: np.ndarray, group: RowGroup, field: str, values: np.ndarray, expected: str) -> None:
    if bad.any():
        record = int(np.argmax(bad))
        where = f"{group.path}, record {group.first + record + 1}, field {field}"
        raise InputError(where, values[record], expected, "repair or remove the record")


def _whole(table: pa.Table, field: str, group: RowGroup) -> pa.Array:
    column = table[field].combine_chunks()
    missing = column.is_null().to_numpy(zero_copy_only=False)
    _refuse(missing, group, field, np.full(len(missing), "nothing"), "a value")
    return column


def _numbers(table: pa.Table, field: str, group: RowGroup) -> np.ndarray:
    values: np.ndarray = _whole(table, field, group).to_numpy().astype(np.int64)
    _refuse(values < 0, group, field, values, "a number of 0 or more")
    return values


def _seconds(times: pa.Array) -> np.ndarray:
    microseconds = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
    seconds: np.ndarray = microseconds.to_numpy() // 1_000_000
    return seconds


def _flags(table: pa.Table, field: str) -> np.ndarray:
    flags: np.ndarray = table[field].cast(pa.int64()).fill_null(-1).to_numpy()
    return flags


def _flat(table: pa.Table, field: str, group: RowGroup) -> tuple[np.ndarray, pa.Array]:
    """Offsets and elements of a list column; a missing list is an empty one."""
    column = table[field].combine_chunks()
    column = column.fill_null([]) if column.null_count else column
    lengths = column.value_lengths().to_numpy().astype(np.int64)
    offsets, values = np.concatenate([[0], np.cumsum(lengths)]), column.flatten()
    if values.null_count:
        first = int(values.is_null().to_numpy(zero_copy_only=False).argmax())
        bad = np.arange(len(lengths)) == np.searchsorted(offsets, first, "right") - 1
        _refuse(bad, group, field, np.full(len(bad), "an empty element"), "a list without empty elements")
    return offsets, values


def _ids(table: pa.Table, field: str, group: RowGroup) -> tuple[np.ndarray, np.ndarray]:
    offsets, values = _flat(table, field, group)
    items = values.to_numpy().astype(np.int64)
    wrong = np.flatnonzero((items < 1) | (items > _LARGEST_ID))
    if len(wrong):
        bad = np.arange(len(offsets) - 1) == np.searchsorted(offsets, wrong[0], "right") - 1
        _refuse(bad, group, field, np.full(len(bad), items[wrong[0]]), f"article ids of 1 to {_LARGEST_ID}")
    return offsets, items


def _keys(owner: np.ndarray, items: np.ndarray) -> np.ndarray:
    return (owner.astype(np.int64) << 31) | items


def _unique_in_lists(offsets: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    keys = np.unique(_keys(owner, items))
    return keys >> 31, keys & _LARGEST_ID


def _check_length(offsets: np.ndarray, group: RowGroup, list_size: int | None) -> None:
    lengths = np.diff(offsets)
    if list_size is not None and len(lengths) and lengths.max() > list_size:
        record = int(np.argmax(lengths > list_size))
        where = f"{group.path}, record {group.first + record + 1}, field article_ids_inview"
        fix = f"choose list_size={lengths.max()} or more"
        raise InputError(where, f"{lengths[record]} articles", f"at most list_size = {list_size}", fix)


def _check_clicks(clicked: np.ndarray, shown: np.ndarray, group: RowGroup) -> None:
    stray = clicked[~np.isin(clicked, shown)]
    if len(stray):
        where = f"{group.path}, record {group.first + int(stray[0] >> 31) + 1}, field article_ids_clicked"
        fix = "repair or remove the record"
        raise InputError(where, stray[0] & _LARGEST_ID, "an article of article_ids_inview", fix)
