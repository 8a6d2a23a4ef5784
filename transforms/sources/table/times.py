"""Raw columns of any type as times, in whole seconds since 1970."""

import numpy as np
import pandas as pd

from transforms.arrow import pa
from transforms.domains import FIRST_PLAUSIBLE
from transforms.errors import InputError
from transforms.features import LAST_TIMESTAMP, MISSING_INT
from transforms.sources.table.convert import Where, is_text, matching, numbers, refuse, scalars, trimmed
from transforms.sources.table.parts import Unit

_ISO = r"^\d{4}-?\d{2}-?\d{2}([T ]\d{2}:?\d{2}(:?\d{2}([.,]\d+)?)?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?$"
_ZONED = r"(Z|UTC|[+-]\d{2}(:?\d{2})?)$"
_PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INTEGER = r"^[+-]?\d+(\.0*)?$"


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
      pattern: of strptime, of texts; None: ISO 8601.
      timezone: of times that do not say theirs.
      of_event: refuse what is not from 1990 to 2099.

    Raises:
      InputError: a value is no time, or not from 1990 to 2099; the likely unit is named.
    """
    array = scalars(array, where)
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        naive = pa.types.is_date(kind) or kind.tz is None
        values = array.cast(pa.timestamp("us", getattr(kind, "tz", None))).cast(pa.int64())
        result = _whole_seconds(values, 1_000_000)
        result = _utc(result, timezone) if naive else result
    elif is_text(kind) and not (pattern is None and (unit is not None or _all_match(array, _INTEGER, r"\d{9,}"))):
        result = _parsed_times(trimmed(array), where, pattern, timezone)
    else:
        factor = _PER_SECOND[unit or "s"]
        if is_text(kind) or not pa.types.is_integer(kind):
            amounts = numbers(array, where)
            result = np.where(np.isnan(amounts), MISSING_INT, np.floor(np.nan_to_num(amounts) / factor)).astype(
                np.int64
            )
        else:
            result = _whole_seconds(array, factor)
    bad = (result != MISSING_INT) & ((result < FIRST_PLAUSIBLE) | (result > LAST_TIMESTAMP))
    if of_event and bad.any():
        row = int(np.argmax(bad))
        raise InputError(where(row), repr(array[row].as_py()), *_about_range(int(result[row]), unit or "s"))
    return result


def _whole_seconds(array: pa.Array, factor: int) -> np.ndarray:
    missing = array.is_null().to_numpy(zero_copy_only=False)
    values = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(missing, MISSING_INT, values // factor)


def _about_range(time: int, unit: Unit) -> tuple[str, str]:
    """Returns what was expected, and the likely unit."""
    in_units = {other: time * _PER_SECOND[unit] // factor for other, factor in _PER_SECOND.items()}
    likely = [other for other, time in in_units.items() if FIRST_PLAUSIBLE <= time <= LAST_TIMESTAMP]
    fix = f"it looks like unit: {likely[0]}" if likely else "correct the value, or the unit, format and timezone"
    return f"a time from 1990 to 2099, read in unit {unit}", fix


def _parsed_times(array: pa.Array, where: Where, pattern: str | None, timezone: str | None) -> np.ndarray:
    """Each distinct text is read once."""
    encoded = array.dictionary_encode()
    distinct = encoded.dictionary
    if pattern is None:
        bad = ~matching(distinct, _ISO)
        parsed = pd.to_datetime(distinct.to_pandas().where(~bad), utc=True, errors="coerce")
        zoned = matching(distinct, _ZONED) & ~matching(distinct, r"^\d{4}-\d{2}-\d{2}$")
    else:
        parsed = pd.to_datetime(distinct.to_pandas(), format=pattern, errors="coerce", utc=True)
        zoned = np.full(len(distinct), "%z" in pattern)
    values = parsed.to_numpy("datetime64[us]").astype(np.int64)
    unread = parsed.isna().to_numpy()
    values = np.where(unread, MISSING_INT, values // 1_000_000)
    values = np.where(zoned | unread, values, _utc(values, timezone))
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    expected = f"a time such as {pd.Timestamp(2026, 1, 31, 18, 30).strftime(pattern)}" if pattern else "ISO 8601"
    fix = "give timestamp a format, e.g. {format: '%d.%m.%Y %H:%M'}, or correct the value"
    refuse((indices >= 0) & np.append(unread, False)[indices], array, where, expected, fix)
    return np.append(values, MISSING_INT)[indices]


def _utc(local: np.ndarray, timezone: str | None) -> np.ndarray:
    """Takes local times to UTC; of the hour that comes twice in autumn the first is taken."""
    if timezone in (None, "UTC"):
        return local
    times = pd.DatetimeIndex(local.astype("datetime64[s]").astype("datetime64[ns]"))
    zoned = times.tz_localize(timezone, ambiguous=np.ones(len(times), bool), nonexistent="shift_forward")
    converted = zoned.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    return np.where(local == MISSING_INT, MISSING_INT, converted)


def local_seconds(utc: np.ndarray, timezone: str | None) -> np.ndarray:
    """Returns the clock of a time zone as if it were UTC, for hours and weekdays."""
    if timezone in (None, "UTC"):
        return utc
    times = pd.DatetimeIndex(utc.astype("datetime64[s]").astype("datetime64[ns]"), tz="UTC").tz_convert(timezone)
    local: np.ndarray = times.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    return np.where(utc == MISSING_INT, MISSING_INT, local)


def _all_match(array: pa.Array, *patterns: str) -> bool:
    return array.null_count < len(array) and all(matching(trimmed(array), pattern).all() for pattern in patterns)
