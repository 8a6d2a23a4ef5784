"""Records of a log as a table of typed columns: roles, features, conditions and order, in the names of the records.

`_file` and `_row` order rows whatever worker reads them; `_identity` is equal where a random split keeps rows together;
`_split` is the split where a column or the file says it; `_where_0` and so on are True where a condition of a history
or count holds; `_raw_0` and so on are other columns that these ask for. Missing values are markers.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.features import MISSING_INT, SPLITS
from transforms.sources.point_in_time.keys import IDENTITY
from transforms.sources.table import convert
from transforms.sources.table.conditions import parse_condition
from transforms.sources.table.declaration import Declaration, FeatureDeclaration, Table
from transforms.sources.table.formats import RawRows
from transforms.sources.table.identity import identities
from transforms.sources.table.key_types import Decimal
from transforms.sources.table.lists import list_parts, lists
from transforms.sources.table.log_columns import LogColumns
from transforms.sources.table.parts import Candidates, Label, Timestamp, Weight
from transforms.sources.table.schema import LOCAL_TIME, column_of, dtype_of
from transforms.sources.table.times import local_seconds, seconds
from transforms.sources.table.values import ages, typed

_CANDIDATE_BITS = 16
"""A record has fewer candidates than 2 to the power of this."""


class _Raw:
    """Columns of some raw records by name, and where they stand."""

    def __init__(self, rows: RawRows):
        self._rows = rows
        self.count = rows.columns.num_rows

    def __call__(self, column: str) -> pa.Array:
        if column not in self._rows.columns.column_names:
            return pa.nulls(self.count, pa.string())
        values = self._rows.columns[column].combine_chunks()
        return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values

    def matching(self, pattern: str) -> list[str]:
        """Columns whose names fit a pattern, numbers in them in their order."""
        names = [name for name in self._rows.columns.column_names if fnmatch(name, pattern)]
        return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in _parts(name)])

    def where(self, column: str) -> convert.Where:
        return lambda row: f"{self._rows.place(row)}, column {column}"

    @property
    def decimal(self) -> Decimal | None:
        return self._rows.decimal

    @property
    def order(self) -> np.ndarray:
        return self._rows.order


def _parts(name: str) -> list[str]:
    parts, digits = [""], False
    for character in name:
        if character.isdigit() != digits:
            parts, digits = [*parts, ""], not digits
        parts[-1] += character
    return parts


def log_rows(rows: RawRows, log_columns: LogColumns, file: int, file_name: str) -> pa.Table:
    """Returns the rows of some records of a log: one a record, or one a candidate.

    Raises:
      InputError: a value is not what the declaration says of it.
    """
    log, raw = log_columns.declaration, _Raw(rows)
    record = np.arange(raw.count)
    columns: dict[str, pa.Array] = {}
    if log.candidates is None:
        columns["item_id"] = _items(raw(log.item_id or ""), raw.where(log.item_id or ""))
        columns |= _item_roles(log, raw)
        place = record
    else:
        most = log.list_size if "request" in log.record_kinds else None
        record, place, of_candidates = _candidates(log.candidates, raw, most)
        columns |= of_candidates
    of_record = _record_roles(log_columns, raw, file, file_name)
    for name, feature in log.features.items():
        if not feature.is_derived:
            column = column_of(log, name)
            if column is None or column.name in (*columns, *of_record):
                continue
            if log.candidates is not None and column.entity == "item":
                columns[name] = _parallel(log, name, feature, raw, len(record), log.candidates)
            else:
                of_record[column.name] = _feature_values(log, name, feature, raw, of_record["timestamp"])
    for column_name, name in log_columns.raw.items():
        of_record[name] = _asked_texts(raw, column_name, log_columns.asked[column_name])
    if log.candidates is not None:
        of_record = {name: values.take(pa.array(record)) for name, values in of_record.items()}
        of_record["_row"] = pa.array((of_record["_row"].to_numpy() << _CANDIDATE_BITS) + place)
    columns = {**of_record, **columns}
    for text, name in log_columns.conditions.items():
        columns[name] = pa.array(_condition(text, log_columns, columns, raw, record))
    return pa.table({**columns})


def _condition(
    text: str, log_columns: LogColumns, columns: Mapping[str, pa.Array], raw: _Raw, record: np.ndarray
) -> np.ndarray:
    def column(name: str) -> pa.Array:
        if log_columns.is_role(name):
            return columns[name]
        return raw(name).take(pa.array(record))

    def where(row: int) -> str:
        return raw.where(f"in `{text}`")(int(record[row]))

    return np.broadcast_to(convert.holds(parse_condition(text), column, where, raw.decimal), len(record))


def _ids(array: pa.Array, where: convert.Where) -> pa.Array:
    """Returns ids as text; whole numbers without a fraction, as some programs write 123.0 where an id is missing."""
    return pc.replace_substring_regex(convert.texts(array, where), r"^(-?\d+)\.0$", r"\1")


def _asked_texts(raw: _Raw, column: str, key: str) -> pa.Array:
    """Returns the texts of a column that the key of a history or count names."""
    array = raw(column)
    try:
        return convert.texts(array, raw.where(column))
    except InputError as error:
        if array.type.num_fields == 0:  # One value a record; `is_nested` does not know lists of fixed size.
            raise
        expected, fix = f"one value a record, as {key} names the column", f"name a column of one value in {key}"
        raise InputError(error.where, error.received, expected, fix) from error


def _keys(raw: _Raw, columns: Sequence[str]) -> pa.Array:
    """Values of one column, or of several with a bar between; empty where one of them is missing."""
    texts = [_ids(raw(column), raw.where(column)) for column in columns]
    if len(texts) == 1:
        return texts[0]
    missing = pa.array(np.any([pc.equal(text, "").to_numpy(zero_copy_only=False) for text in texts], axis=0))
    escaped = [pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), "|", "\\|") for text in texts]
    return pc.if_else(missing, "", pc.binary_join_element_wise(*escaped, "|"))


def _times(raw: _Raw, timestamp: Timestamp | None) -> np.ndarray:
    if timestamp is None:
        return np.zeros(raw.count, np.int64)
    column, where = raw(timestamp.column), raw.where(timestamp.column)
    times = seconds(column, where, timestamp.unit, timestamp.format, timestamp.timezone)
    if (times == MISSING_INT).any():
        row = int(np.argmax(times == MISSING_INT))
        raise InputError(where(row), "nothing", "a time", "give every record its time, or leave it out")
    return times


def _record_roles(log_columns: LogColumns, raw: _Raw, file: int, file_name: str) -> dict[str, pa.Array]:
    log = log_columns.declaration
    times = _times(raw, log.timestamp)
    users = _keys(raw, log.user_id) if log.user_id else pa.array([""] * raw.count, pa.string())
    columns = {"user_id": users, "timestamp": pa.array(times)}
    alone = pc.binary_join_element_wise(str(file), pa.array(raw.order).cast(pa.string()), "-")
    # Rows that do not say their request have nothing in common.
    requests = _keys(raw, log.request_id.columns) if log.request_id and log.request_id.columns else users
    is_alone = pc.equal(requests, "") if log.request_id else pa.array(np.ones(raw.count, bool))
    if log.request_id is not None and log.request_id.window is not None:
        slot = pa.array(times // log.request_id.window).cast(pa.string())
        requests = pc.binary_join_element_wise(requests, slot, "|")
    columns["request_id"] = pc.if_else(is_alone, alone, requests)
    if log.timestamp is not None and log.timestamp.timezone is not None and any(map(log.is_of_event, log.features)):
        columns[LOCAL_TIME] = pa.array(local_seconds(times, log.timestamp.timezone))
    if log.splits.by in ("column", "files"):
        columns["_split"] = pa.array(_split(log, raw, file_name))
    if log.splits.by in ("user", "random"):
        columns[IDENTITY] = pa.array(_identities(log_columns, raw, columns, is_alone))
    columns["_file"] = pa.array(np.full(raw.count, file, np.int64))
    columns["_row"] = pa.array(raw.order)
    return columns


def _identities(log_columns: LogColumns, raw: _Raw, roles: Mapping[str, pa.Array], is_alone: pa.Array) -> np.ndarray:
    """Returns what a random split goes by: the request, else user, item and time, else all values of the record."""
    log, candidates = log_columns.declaration, log_columns.declaration.candidates
    if log.user_id and log.timestamp is not None:
        items = raw(candidates.items) if candidates is not None else _ids(raw(log.item_id or ""), raw.where("item"))
        alone = identities([roles["user_id"], items, roles["timestamp"]], raw.count)
    else:
        patterns = [feature.column for feature in log.features.values() if "*" in (feature.column or "")]
        several = [name for pattern in patterns for name in raw.matching(pattern or "")]
        alone = identities([raw(name) for name in sorted({*log_columns.wanted, *several})], raw.count)
    of_request = identities([roles["request_id"]], raw.count)
    return np.where(is_alone.to_numpy(zero_copy_only=False), alone, of_request)


def _split(log: Declaration, raw: _Raw, file_name: str) -> np.ndarray:
    """Split of each record."""
    result = np.full(raw.count, SPLITS[0], object)
    for split, values in log.splits.values.items():
        if log.splits.by == "files":
            chosen = np.full(raw.count, any(fnmatch(file_name, str(value)) for value in values))
        else:
            column = log.splits.column or ""
            chosen = convert.matches(raw(column), values, raw.where(column), raw.decimal)
        result[chosen] = split
    return result


def _items(array: pa.Array, where: convert.Where) -> pa.Array:
    ids = _ids(array, where)
    missing = pc.equal(pc.binary_length(ids), 0).to_numpy(zero_copy_only=False)
    convert.refuse(missing, ids, where, "the id of an item", "give every record its item, or leave it out")
    return ids


def _weights(array: pa.Array, rule: Weight, where: convert.Where, decimal: Decimal | None) -> pa.Array:
    weights = convert.numbers(array, where, decimal)
    if rule.missing != "refused":
        weights = np.where(np.isnan(weights), rule.missing, weights)
    fix = "correct the weight, leave the record out, or set weight: {missing: 1} where none means 1"
    convert.refuse(~(weights >= 0), array, where, "a weight, 0 or more", fix)
    return pa.array(weights.astype(np.float32))


def _item_roles(log: Declaration, raw: _Raw) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    if log.label is not None:
        where = raw.where(log.label.column)
        columns["label"] = pa.array(convert.labels(raw(log.label.column), log.label, where, raw.decimal))
    if log.exposed is not None:
        exposed = convert.truths(raw(log.exposed), raw.where(log.exposed), raw.decimal)
        columns["exposed"] = pa.array(np.maximum(exposed, 0))
    if log.stage is not None:
        columns["stage"] = pa.array(convert.integers(raw(log.stage), raw.where(log.stage), raw.decimal))
    if log.position is not None:
        where = raw.where(log.position.column)
        columns["position"] = pa.array(convert.integers(raw(log.position.column), where, raw.decimal))
    if log.weight is not None:
        where = raw.where(log.weight.column)
        columns["weight"] = _weights(raw(log.weight.column), log.weight, where, raw.decimal)
    return columns


def _candidates(
    candidates: Candidates, raw: _Raw, most: int | None
) -> tuple[np.ndarray, np.ndarray, dict[str, pa.Array]]:
    """Returns each candidate's record, its place in it, and its columns."""
    listed = lists(raw(candidates.items), candidates.separator, raw.where(candidates.items))
    offsets, elements = list_parts(listed)
    sizes = np.diff(offsets)
    if most is not None and sizes.max(initial=0) > most:
        row = int(np.argmax(sizes > most))
        fix = f"raise list_size, or leave such requests out; the largest of those looked at has {sizes.max()}"
        raise InputError(
            raw.where(candidates.items)(row), f"{sizes[row]} candidates", f"at most {most}, list_size", fix
        )
    record = np.repeat(np.arange(raw.count), np.diff(offsets))
    place = np.arange(len(record)) - np.repeat(offsets[:-1], np.diff(offsets))

    def where(column: str) -> convert.Where:
        return lambda row: raw.where(column)(int(record[row]))

    def parallel(column: str) -> pa.Array:
        return _checked_parallel(raw, column, candidates.separator, offsets)

    items = _items(elements, where(candidates.items))
    columns: dict[str, pa.Array] = {}
    if candidates.label_after is not None:
        items, labels = _cut_labels(items, candidates.label_after, where(candidates.items))
        columns["label"] = pa.array(labels)
    columns["item_id"] = items
    if candidates.labels is not None:
        rule = Label(column=candidates.labels, missing=candidates.missing)
        values = convert.labels(parallel(rule.column), rule, where(rule.column), raw.decimal, "candidates")
        columns["label"] = pa.array(values)
    if candidates.clicked is not None:
        clicked = _is_among(items, record, raw, candidates.clicked, candidates.separator)
        columns["label"] = pa.array(clicked.astype(np.float32))
    if candidates.exposed is not None:
        exposed = convert.truths(parallel(candidates.exposed), where(candidates.exposed), raw.decimal)
        columns["exposed"] = pa.array(np.maximum(exposed, 0))
    if candidates.shown is not None:
        shown = _is_among(items, record, raw, candidates.shown, candidates.separator)
        columns["exposed"] = pa.array(shown.astype(np.int64))
    for name in ("stage", "position"):
        column = getattr(candidates, name)
        if column is not None:
            columns[name] = pa.array(convert.integers(parallel(column), where(column), raw.decimal))
    if candidates.weight is not None:
        weight = candidates.weight
        columns["weight"] = _weights(parallel(weight.column), weight, where(weight.column), raw.decimal)
    return record, place, columns


def _checked_parallel(
    raw: _Raw, column: str, separator: str | None, offsets: np.ndarray, may_lack: bool = False
) -> pa.Array:
    """Returns the values of a column for all candidates; `may_lack`: null where a record has no list at all."""
    array = raw(column)
    lengths, values = list_parts(lists(array, separator, raw.where(column)))
    different = np.diff(lengths) != np.diff(offsets)
    if may_lack and different.any() and array.null_count:
        lacks = array.is_null().to_numpy(zero_copy_only=False)
        record = np.repeat(np.arange(raw.count), np.diff(offsets))
        place = np.arange(len(record)) - offsets[record] + lengths[record]
        different &= ~lacks
        if not different.any():
            return values.take(pa.array(np.where(lacks[record], 0, place), mask=lacks[record]))
    if different.any():
        row = int(np.argmax(different))
        received = f"{np.diff(lengths)[row]} values for {np.diff(offsets)[row]} candidates"
        raise InputError(raw.where(column)(row), received, "a value for each candidate", "correct the record")
    return values


def _cut_labels(items: pa.Array, mark: str, where: convert.Where) -> tuple[pa.Array, np.ndarray]:
    """Takes `N1-1` apart."""
    split = pc.split_pattern(items, mark, max_splits=1, reverse=True)
    single = (pc.list_value_length(split).to_numpy(zero_copy_only=False) != 2) if len(items) else np.zeros(0, bool)
    if single.any():
        row = int(np.argmax(single))
        fix = "correct label_after; leave out files without labels"
        raise InputError(where(row), repr(items[row].as_py()), f"an id, {mark!r} and a label", fix)
    both = pc.list_flatten(split)
    labels = convert.labels(both.take(pa.array(np.arange(1, len(both), 2))), Label(column=""), where, key="candidates")
    return both.take(pa.array(np.arange(0, len(both), 2))), labels


def _is_among(items: pa.Array, record: np.ndarray, raw: _Raw, column: str, separator: str | None) -> np.ndarray:
    """Returns True where a candidate's id is in its record's list.

    Raises:
      InputError: the list has an id that is no candidate of its record.
    """
    offsets, ids = list_parts(lists(raw(column), separator, raw.where(column)))
    of = np.repeat(np.arange(raw.count), np.diff(offsets))
    listed = _ids(ids, lambda row: raw.where(column)(int(of[row])))
    codes = pa.chunked_array([items, listed]).combine_chunks()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    code = codes.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    keys = np.concatenate([record, of]) * (len(code) + 1) + code
    strange = ~np.isin(keys[len(record) :], keys[: len(record)])
    strange &= np.asarray(pc.not_equal(listed, ""))
    fix = "correct the record, or list all candidates"
    convert.refuse(strange, listed, lambda row: raw.where(column)(int(of[row])), "ids of the record's candidates", fix)
    return np.isin(keys[: len(record)], keys[len(record) :])


def _parallel(
    log: Declaration, name: str, feature: FeatureDeclaration, raw: _Raw, count: int, candidates: Candidates
) -> pa.Array:
    """A feature of the candidates: a list parallel to them."""
    listed = lists(raw(candidates.items), candidates.separator, raw.where(candidates.items))
    offsets, column = list_parts(listed)[0], feature.column or name
    values = _checked_parallel(raw, column, feature.separator or candidates.separator, offsets, may_lack=True)
    record = np.repeat(np.arange(raw.count), np.diff(offsets))
    return typed(log, name, feature, values, lambda row: raw.where(column)(int(record[row])), raw.decimal)


def _feature_values(
    log: Declaration, name: str, feature: FeatureDeclaration, raw: _Raw, timestamps: pa.Array | None
) -> pa.Array:
    column = feature.column or name
    if "*" in column:
        names = raw.matching(column)
        if not names:
            return pa.ListArray.from_arrays(pa.array(np.zeros(raw.count + 1), pa.int32()), pa.array([], pa.float32()))
        parts = [convert.numbers(raw(one), raw.where(one), raw.decimal).astype(np.float32) for one in names]
        if len(parts) != feature.vector:
            received = f"{len(parts)} columns {column!r}"
            raise InputError(f"features.{name}", received, f"{feature.vector}, its vector", "correct vector or column")
        offsets = pa.array(np.arange(raw.count + 1) * len(parts), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(np.stack(parts, 1).reshape(-1)))
    values = typed(log, name, feature, raw(column), raw.where(column), raw.decimal)
    if feature.is_time and dtype_of(log, name) == "float" and timestamps is not None:
        return ages(values, timestamps)
    return values


def table_rows(rows: RawRows, log: Declaration, table: Table, file: int) -> pa.Table:
    """Returns rows of a table of users or items: `_key`, `timestamp` where it has one, its features, and the order.

    Raises:
      InputError: a value is not what the declaration says of it.
    """
    raw = _Raw(rows)
    columns = {"_key": _keys(raw, table.key)}
    if table.timestamp is not None:
        columns["timestamp"] = pa.array(_times(raw, table.timestamp))
    for feature_name, feature in table.features.items():
        columns[feature_name] = _feature_values(log, feature_name, feature, raw, None)
    columns["_file"] = pa.array(np.full(raw.count, file, np.int64))
    columns["_row"] = pa.array(raw.order)
    return pa.table({**columns})
