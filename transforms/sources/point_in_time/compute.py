"""Histories, counters and joins of all rows of some keys, in NumPy."""

from collections.abc import Mapping, Sequence

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.sources.point_in_time.events_before import Events
from transforms.sources.point_in_time.keys import key_codes
from transforms.sources.point_in_time.parts import Part
from transforms.sources.point_in_time.plan import FILE, KNOWN, REQUEST_ID, ROW, TIME, Count, History, Join, Once, Stage


def compute(part: Part, stage: Stage, tables: Mapping[str, pa.Table]) -> Part:
    """Adds what a stage computes.

    Args:
      part: all rows of some keys, in any order.
      stage: whose key they share.
      tables: for joins, by name: the rows of these keys; those without a row may be left out.

    Raises:
      InputError: a table has a key in two rows, of the same time if it is timed; or a row comes twice that may come
        once.
    """
    for join in stage.joins:
        part = part.with_columns(_joined(part.rows, join, tables.get(join.table)))
    codes = key_codes([(part.rows, stage.per)])[0]
    histories: dict[tuple[str | None, int, int], list[History]] = {}
    for item in stage.events:
        if isinstance(item, Once):
            _refuse_second(part.rows, item)
        elif isinstance(item, Count):
            part = part.with_columns({item.output: _counts(part.rows, codes, item)})
        else:
            histories.setdefault((item.where, item.lag, item.last), []).append(item)
    for group in histories.values():
        part = _with_histories(part, codes, group)
    return part


def with_request_times(part: Part) -> Part:
    """Gives all rows of a request the time of its first one; as events they stay known from their own time on."""
    rows = part.rows
    codes = key_codes([(rows, (REQUEST_ID,))])[0]
    # A row without a request is one by itself.
    codes = np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(len(codes)), codes)
    times = rows[TIME].to_numpy()
    first = np.full(int(codes.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, codes, times)
    return part.with_columns({TIME: first[codes], KNOWN: _known(rows)})


def _known(rows: pa.Table) -> np.ndarray:
    """When others can know of each row."""
    times = rows[TIME]
    known: np.ndarray = (pc.coalesce(rows[KNOWN], times) if KNOWN in rows.column_names else times).to_numpy()
    return known


def _events(rows: pa.Table, codes: np.ndarray, item: Count | History) -> np.ndarray:
    """Which rows are events of a history or counter."""
    chosen: np.ndarray = codes >= 0
    if item.where is not None and item.where not in rows.column_names:
        chosen[:] = False
    elif item.where is not None:
        chosen &= rows[item.where].combine_chunks().fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
    return np.flatnonzero(chosen)


def _counts(rows: pa.Table, codes: np.ndarray, item: Count) -> np.ndarray:
    index, times = _events(rows, codes, item), rows[TIME].to_numpy()
    events = Events.of(codes[index], _known(rows)[index])
    start, stop = events.before(codes, times - item.lag)
    if item.within is not None:
        start = np.minimum(events.before(codes, times - item.within)[1], stop)
    return stop - start


def _refuse_second(rows: pa.Table, item: Once) -> None:
    names = (*item.columns, *item.per)
    codes = key_codes([(rows, names)])[0]
    row, file = _places(rows)
    order = np.lexsort((row, file, codes))
    again = order[1:][(np.diff(codes[order]) == 0) & (codes[order[1:]] >= 0)]
    if len(again):
        first = int(again[np.lexsort((row[again], file[again]))[0]])
        raise item.refusal(int(file[first]), int(row[first]), *(rows[name][first].as_py() for name in names))


def _with_histories(part: Part, codes: np.ndarray, group: list[History]) -> Part:
    """Histories of the same events."""
    rows, item = part.rows, group[0]
    index, known = _events(rows, codes, item), _known(rows)
    index = index[np.lexsort([values[index] for values in (*_places(rows), known, codes)])]
    events = Events.of(codes[index], known[index])
    start, stop = events.before(codes, rows[TIME].to_numpy() - item.lag)
    listed = pa.table({history.output: _column(rows, history.of).take(pa.array(index)) for history in group})
    return part.with_ranges(item.output, listed, np.maximum(start, stop - item.last), stop)


def _joined(rows: pa.Table, join: Join, table: pa.Table | None) -> dict[str, pa.Array]:
    if table is None or not table.num_rows:
        return {name: pa.nulls(rows.num_rows) for name in join.columns}
    codes, keys = key_codes([(rows, join.per), (table, join.key_columns)])
    order = np.flatnonzero(keys >= 0)
    if join.timed:
        times = table[TIME].to_numpy()
        order = order[np.lexsort([values[order] for values in (*_places(table), times, keys)])]
        _refuse_repeated(table, [keys, times], order, join)
        start, stop = Events.of(keys[order], times[order]).before(codes, rows[TIME].to_numpy())
        known = stop > start
    else:
        order = order[np.lexsort([values[order] for values in (*_places(table), keys)])]
        _refuse_repeated(table, [keys], order, join)
        stop = np.searchsorted(keys[order], codes, "right")
        known = np.searchsorted(keys[order], codes, "left") < stop
    index = order[np.maximum(stop - 1, 0)] if len(order) else np.zeros(len(codes), np.int64)
    place = pa.array(index, mask=~known)
    return {name: table[name].combine_chunks().take(place) for name in join.columns}


def _column(rows: pa.Table, name: str) -> pa.Array:
    return rows[name] if name in rows.column_names else pa.nulls(rows.num_rows)


def _places(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The order of rows that nothing else puts into order; for `lexsort`, so that the file is compared first."""
    return table[ROW].to_numpy(), table[FILE].to_numpy()


def _refuse_repeated(table: pa.Table, keys: Sequence[np.ndarray], order: np.ndarray, join: Join) -> None:
    places = np.flatnonzero(np.all([np.diff(key[order]) == 0 for key in keys], axis=0))
    again, before = order[places + 1], order[places]
    if join.may_repeat and len(again):
        differ = np.zeros(len(again), bool)
        for name in join.columns:
            # As text NaN is equal to itself, in lists, too.
            values = (table[name].take(pa.array(index)).to_pylist() for index in (again, before))
            differ |= np.array([repr(one) != repr(other) for one, other in zip(*values, strict=True)])
        again = again[differ]
    if not len(again):
        return
    row, file = (values[again] for values in _places(table))
    first = again[np.lexsort((row, file))[0]]
    row, file = _places(table)
    where = join.place(int(file[first]), int(row[first]))
    key = ", ".join(str(table[name][int(first)].as_py()) for name in join.key_columns)
    names = join.called or ", ".join(join.key_columns)
    expected = f"each {names} once" + (" at a time" if join.timed else "")
    received = f"{key} again, with other values" if join.may_repeat else f"{key} again"
    raise InputError(f"{where}, field {names}", received, expected, "remove the repeated line")
