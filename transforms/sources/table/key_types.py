"""What the keys of a declaration may hold: names, durations, times, conditions; and what a section of it is."""

import re
from typing import Annotated, Any, ClassVar, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from transforms.errors import InputError
from transforms.sources.table.conditions import parse_condition

Entity: TypeAlias = Literal["user", "item", "context"]
Format: TypeAlias = Literal["csv", "tsv", "jsonl", "parquet", "avro", "tfrecord", "bigquery"]
Decimal: TypeAlias = Literal[".", ","]
Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _seconds(value: Any) -> Any:
    match = re.fullmatch(r"(\d+)\s*([smhdw])", value) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _SECONDS[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InputError("", repr(value), "a duration such as 30s, 10m, 1h, 7d", "correct the value")


def several(value: Any) -> Any:
    """Takes one value for a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses a value that stands twice.

    Raises:
      InputError: one does.
    """
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise InputError("", f"{twice!r} twice", "each once", "leave one of them out")
    return values


def _checked_pattern(pattern: str) -> str:
    import pandas as pd

    moment = pd.Timestamp("2026-01-31 18:30", tz="UTC")
    try:
        year = pd.to_datetime(moment.strftime(pattern), format=pattern, utc=True).year
    except (ValueError, re.error, OverflowError):
        year = None
    if year != moment.year:
        fix = "correct the pattern; for numbers give a unit instead"
        raise InputError("", repr(pattern), "a pattern of strptime with a year, such as '%d.%m.%Y %H:%M'", fix)
    return pattern


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise InputError("", str(value).lower(), "a number", "correct the value")
    return value


def _checked_name(name: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise InputError("", repr(name), "a small letter, then small letters, digits and underscores", "rename it")
    return name


def _checked_condition(text: str) -> str:
    parse_condition(text)
    return text


def _checked_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise InputError("", repr(name), "a time zone such as Europe/Berlin or UTC", "correct the name") from error
    return name


LogName = Annotated[str, AfterValidator(_checked_name)]
Duration = Annotated[int, BeforeValidator(_seconds), Field(ge=0)]
"""Seconds, written as 30s, 10m, 1h, 7d."""
Window = Annotated[int, BeforeValidator(_seconds), Field(ge=1)]
"""A duration that is not nothing."""
Texts = Annotated[tuple[str, ...], BeforeValidator(several), AfterValidator(distinct)]
"""One text or several."""
Keys = Annotated[tuple[str, ...], BeforeValidator(several), Field(min_length=1), AfterValidator(distinct)]
"""One column, or several whose values together are the key."""
Condition = Annotated[str, AfterValidator(_checked_condition)]
"""A comparison, or several joined by `and`: `label == 1 and event in [click, buy]`."""
Zone = Annotated[str, AfterValidator(_checked_timezone)]
Pattern = Annotated[str, AfterValidator(_checked_pattern)]
"""How times are written, in the directives of strptime."""
Finite = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]
Value: TypeAlias = bool | int | float | str
Values = Annotated[tuple[Value, ...], BeforeValidator(several)]


class Section(BaseModel):
    """A mapping of a declaration; unknown keys are refused.

    Class attributes of those that may be written short: the key for which a text alone stands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    _short: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        """Takes a text alone for the key that matters most: `timestamp: at` is `timestamp: {column: at}`."""
        return {cls._short: value} if cls._short and isinstance(value, str | list) else value


def refuse_unit_and_format(unit: str | None, pattern: str | None) -> None:
    """Refuses times that would be numbers and texts at once.

    Raises:
      InputError: both are given.
    """
    if unit is not None and pattern is not None:
        fix = "leave one of them out"
        raise InputError("", "unit and format", "unit for numbers or format for texts", fix)
