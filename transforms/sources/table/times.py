"""Raw columns of any type as times, in whole seconds since 1970."""

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from transforms.arrow import pa, pc
from transforms.domains import FIRST_PLAUSIBLE
from transforms.errors import InputError
from transforms.features import LAST_TIMESTAMP, MISSING_INT
from transforms.sources.table.convert import Where, is_text, matching, numbers, refuse, scalars, shown, texts, trimmed
from transforms.sources.table.key_types import Unit
from transforms.sources.table.parts import Splits

_ISO = r"^\d{4}-?\d{2}-?\d{2}([T ]\d{2}:?\d{2}(:?\d{2}([.,]\d+)?)?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?$"
_ZONED = r"(Z|UTC|[+-]\d{2}(:?\d{2})?)$"
_PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INTEGER = r"^[+-]?\d+(\.0*)?$"
_EPOCH = r"^[+-]?(\d{9,}(\.\d*)?|\d(\.\d+)?[eE]\+?\d+)$"
"""Numbers that are seconds where no unit is declared; fewer digits are a day, 20260131."""
_NAT = np.iinfo(np.int64).min
_FARTHEST = 9_000_000_000
# From pandas 2 on, no format means that of the first text for all of them; before, each is read by itself.
_ANY_ISO = None if pd.__version__.startswith("1.") else "ISO8601"
_EXAMPLE = datetime(2026, 1, 31, 18, 30, tzinfo=UTC)


def seconds(
    array: pa.Array,
    where: Where,
    unit: Unit | None = None,
    pattern: str | None = None,
    timezone: str | None = None,
    of_event: bool = True,
) -> np.ndarray:
    """Returns whole seconds since 1970, UTC; missing: -1.

    Args:
      array: of times, dates, numbers or texts.
      where: for messages.
      unit: of numbers, also of numbers in text.
      pattern: of strptime, of texts, and of numbers such as 20260131; None: ISO 8601.
      timezone: of times that do not say theirs.
      of_event: refuse what is not from 1990 to 2099.

    Raises:
      InputError: a value is no time, or not from 1990 to 2099; the likely unit is named.
    """
    array = scalars(array, where)
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        naive = pa.types.is_date(kind) or kind.tz is None
        values = array.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False).cast(pa.int64())
        result = _whole_seconds(values, 1_000_000)
        result = _utc(result, timezone) if naive else result
    elif pattern is not None or (is_text(kind) and unit is None and not _all_match(array, _EPOCH)):
        written = trimmed(array) if is_text(kind) else _digits(array, where, pattern or "")
        result = _parsed_times(written, where, pattern, timezone)
    else:
        result = _whole_seconds(_integers_or_floats(array, where), _PER_SECOND[unit or "s"])
    bad = (result != _NAT) & ((result < FIRST_PLAUSIBLE) | (result > LAST_TIMESTAMP))
    if of_event and bad.any():
        row = int(np.argmax(bad))
        value = array[row].as_py()
        raise InputError(where(row), shown(value), *_about_range(value, int(result[row]), pattern, unit or "s"))
    return np.where(result == _NAT, MISSING_INT, _beside_marker(result))


def split_starts(splits: Splits, timezone: str | None) -> tuple[int, int]:
    """Returns when eval and test begin, of splits by dates.

    Raises:
      InputError: a date is none, or test does not begin after eval; `where` is the dotted key.
    """
    starts: dict[str, int] = {}
    for split, day in (splits.dates or {}).items():
        try:
            (starts[split],) = seconds(pa.array([day]), f"splits.dates.{split}".format, timezone=timezone).tolist()
        except InputError as error:
            expected = "a day or time from 1990 to 2099, such as 2026-01-31"
            raise InputError(error.where, error.received, expected, "correct it") from error
    if starts["eval"] >= starts["test"]:
        received, expected = written(starts["test"], timezone), f"a time after {written(starts['eval'], timezone)}"
        raise InputError("splits.dates.test", received, f"{expected}, where eval begins", "correct one of them")
    return starts["eval"], starts["test"]


def written(time: int, timezone: str | None = None) -> str:
    """Returns a time as messages show it, by the clock of a time zone."""
    return f"{datetime.fromtimestamp(time, ZoneInfo(timezone or 'UTC')):%Y-%m-%d %H:%M:%S %Z}"


def _beside_marker(times: np.ndarray) -> np.ndarray:
    """Takes the second before 1970, which would be the marker of a missing time, for the one before it."""
    return np.where(times == MISSING_INT, MISSING_INT - 1, times)


def _digits(array: pa.Array, where: Where, pattern: str) -> pa.Array:
    """Returns numbers such as 20260131 as texts; zeros that a number does not keep stand in front again."""
    return pc.utf8_lpad(trimmed(texts(array, where, exact=False)), len(_EXAMPLE.strftime(pattern)), "0")


def _integers_or_floats(array: pa.Array, where: Where) -> pa.Array:
    if is_text(array.type) and _all_match(array, _INTEGER):
        # Nanoseconds have more digits than floats.
        array = pc.replace_substring_regex(trimmed(array), r"\.0*$", "").cast(pa.int64())
    return array if pa.types.is_integer(array.type) else pa.array(numbers(array, where), from_pandas=True)


def _whole_seconds(array: pa.Array, factor: int) -> np.ndarray:
    missing = array.is_null().to_numpy(zero_copy_only=False)
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return np.where(missing, _NAT, np.floor_divide(values, factor).astype(np.int64))


def _about_range(value: object, time: int, pattern: str | None, unit: Unit) -> tuple[str, str]:
    """Returns what was expected, and the likely unit or format."""
    if pattern is not None or isinstance(value, date) or not re.fullmatch(r"[+-]?\d+(\.\d*)?", str(value)):
        return "a time from 1990 to 2099", "correct the value, or the format and timezone"
    in_units = {other: time * _PER_SECOND[unit] // factor for other, factor in _PER_SECOND.items()}
    likely = [other for other, time in in_units.items() if FIRST_PLAUSIBLE <= time <= LAST_TIMESTAMP]
    fix = f"it looks like unit: {likely[0]}" if likely else "correct the value, or the unit, format and timezone"
    if re.fullmatch(r"(199|20\d)\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0)?", str(value)):
        fix = "it looks like format: '%Y%m%d'"
    return f"a time from 1990 to 2099, read in unit {unit}", fix


def _parsed_times(array: pa.Array, where: Where, pattern: str | None, timezone: str | None) -> np.ndarray:
    """Each distinct text is read once."""
    encoded = array.dictionary_encode()
    distinct = encoded.dictionary
    bad = ~matching(distinct, _ISO) if pattern is None else np.zeros(len(distinct), bool)
    readable = _plain_iso(distinct) if pattern is None else distinct
    shape = pattern if pattern is not None else _ANY_ISO
    parsed = pd.to_datetime(readable.to_pandas().where(~bad), format=shape, utc=True, errors="coerce")
    zoned = matching(distinct, _ZONED) & ~matching(distinct, r"^\d{4}-\d{2}-\d{2}$")
    if pattern is not None:
        zoned = np.full(len(distinct), "%z" in pattern or "%Z" in pattern)
    unread = parsed.isna().to_numpy()
    values = np.where(unread, _NAT, parsed.to_numpy("datetime64[us]").astype(np.int64) // 1_000_000)
    for place in np.flatnonzero(unread & ~bad):
        values[place] = _far_time(readable[int(place)].as_py(), pattern)
    unread = values == _NAT
    values = np.where(zoned, values, _utc(values, timezone))
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    expected = f"a time such as {_EXAMPLE.strftime(pattern)}" if pattern else "ISO 8601"
    fix = "give timestamp a format, e.g. {format: '%d.%m.%Y %H:%M'}, or correct the value"
    refuse((indices >= 0) & np.append(unread, False)[indices], array, where, expected, fix)
    return np.append(values, _NAT)[indices]


def _plain_iso(array: pa.Array) -> pa.Array:
    """Returns ISO 8601 as all readers take it: a decimal point for a comma, and Z for UTC."""
    return pc.replace_substring_regex(pc.replace_substring(array, ",", "."), " ?UTC$", "Z")


def _far_time(text: str, pattern: str | None) -> int:
    """Returns a time that pandas does not know, which ends in 2262: 9999-12-31 often stands for no end."""
    try:
        time = datetime.fromisoformat(text) if pattern is None else datetime.strptime(text, pattern)
    except ValueError:
        return _NAT
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)


def _utc(local: np.ndarray, timezone: str | None) -> np.ndarray:
    """Takes local times to UTC; of the hour that comes twice in autumn the first is taken."""
    if timezone in (None, "UTC"):
        return local
    near, moved = _within_pandas(local)
    zoned = near.tz_localize(timezone, ambiguous=np.ones(len(near), bool), nonexistent="shift_forward")
    converted = zoned.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    return np.where(local == _NAT, _NAT, converted + moved)


def local_seconds(utc: np.ndarray, timezone: str | None) -> np.ndarray:
    """Returns the clock of a time zone as if it were UTC, for hours and weekdays; missing: -1."""
    if timezone in (None, "UTC"):
        return utc
    near, moved = _within_pandas(utc)
    local = near.tz_localize("UTC").tz_convert(timezone).tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    return np.where(utc == MISSING_INT, MISSING_INT, _beside_marker(local + moved))


def _within_pandas(times: np.ndarray) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Returns times, those out of pandas' range at its ends, and how many seconds these were moved."""
    near = np.clip(times, -_FARTHEST, _FARTHEST)
    return pd.DatetimeIndex(near.astype("datetime64[s]").astype("datetime64[ns]")), times - near


def _all_match(array: pa.Array, *patterns: str) -> bool:
    return array.null_count < len(array) and all(matching(trimmed(array), pattern).all() for pattern in patterns)
