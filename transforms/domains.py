"""Which values a column may have: one rule for what is written, trained on, evaluated and let through the gate."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.features import (
    CANDIDATE,
    EXPOSED,
    LABEL,
    LAST_TIMESTAMP,
    MISSING_INT,
    MISSING_STRING,
    TIMESTAMP,
    WEIGHT,
    Column,
    FeatureSet,
    RecordKind,
)

FIRST_PLAUSIBLE = 631_152_000
"""1990. Times of a log lie all before it (ordinals, where there is no clock) or all after it."""
_UNITS = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}

Flat: TypeAlias = np.ndarray | pa.Array
Elements: TypeAlias = Callable[[Column], tuple[Flat, np.ndarray]]
"""Gives a column's elements, one after the other, and offsets `[n + 1]`: record i has those from `offsets[i]` on."""


@dataclass(frozen=True)
class Fault:
    """A value that its column cannot have.

    Args:
      column: its name.
      record: number of the record, 0 first.
      value: what stands there.
      expected: what may stand there.
      fix: what to do about it.
    """

    column: str
    record: int
    value: object
    expected: str
    fix: str

    def error(self, where: str, start: int = 0) -> InputError:
        """As an error.

        Args:
          where: the shard or file.
          start: number of its records before the first one that was looked at.
        """
        place = f"{where}, record {start + self.record}, column {self.column!r}"
        return InputError(place, self.value, self.expected, self.fix)


def lowest(column: Column) -> float | int | None:
    """The least value of a column of numbers; None: any. Whole for integers, rounded to float32 for floats."""
    return _bound(column, column.min_value, math.ceil)


def highest(column: Column) -> float | int | None:
    """The greatest value of a column of numbers; None: any."""
    return _bound(column, column.max_value, math.floor)


def may_be_missing(column: Column) -> bool:
    """Whether a marker of a missing value may stand in a column."""
    return not column.required and (column.dtype != "int64" or column.model_input or column.width is not None)


def is_limited(column: Column) -> bool:
    """Whether there is a value of the column's type that it cannot have."""
    is_vector = column.width is not None and column.dtype == "float"
    return column.required or is_vector or column.min_value is not None or column.max_value is not None


def faults(
    feature_set: FeatureSet, record: RecordKind, elements: Elements, columns: Sequence[Column] | None = None
) -> Iterator[Fault]:
    """The first value of each column that the column cannot have.

    Padded candidates are looked at only in `label`, `weight`, `candidate` and `exposed`: losses and metrics multiply by
    masks.

    Args:
      feature_set: the declaration.
      record: `row` or `request`.
      elements: of the columns.
      columns: to look at; None: all.
    """
    real = np.asarray(elements(feature_set.column(CANDIDATE))[0]) == 1 if record == "request" else np.True_
    for column in feature_set.columns_of(record) if columns is None else columns:
        if not is_limited(column):
            continue
        values, offsets = elements(column)
        wrong = outside(column, values)
        if column.shape(record).per_candidate and column.name not in (LABEL, WEIGHT, CANDIDATE, EXPOSED):
            wrong &= np.repeat(real, column.width or 1)
        if column.name == TIMESTAMP and not wrong.any():
            wrong = _among_later(np.asarray(values))
        if wrong.any():
            yield _fault(column, values, offsets, int(np.argmax(wrong)))


def outside(column: Column, values: Flat) -> np.ndarray:
    """True where a value is none that its column may have; `[n]` -> bool `[n]`."""
    if column.dtype == "string":
        return _is_empty(values) if column.required else np.zeros(len(values), bool)
    values = np.asarray(values)
    low, high = lowest(column), highest(column)
    wrong = np.zeros(len(values), bool)
    if low is not None:
        wrong |= values < low
    if high is not None:
        wrong |= values > high
    if column.dtype == "int64":
        missing = values == MISSING_INT
    else:
        missing = np.isnan(values)
        if is_limited(column):
            wrong |= np.isinf(values)
    return (wrong & ~missing) if may_be_missing(column) else (wrong | missing)


def expected_of(column: Column) -> str:
    """What may stand in a column, in words."""
    if column.dtype == "string":
        return "a string that is not empty"
    if column.name == TIMESTAMP:
        return f"seconds since 1970, {lowest(column)} to {highest(column)}"
    kind = "an integer" if column.dtype == "int64" else "a finite number"
    low, high = lowest(column), highest(column)
    bounds = [f"from {_short(low)}"] if low is not None else []
    bounds += [f"to {_short(high)}"] if high is not None else []
    marker = f", or {MISSING_INT if column.dtype == 'int64' else 'NaN'} where it is missing"
    return " ".join([kind, *bounds]) + (marker if may_be_missing(column) else "")


def _bound(column: Column, value: float | None, rounded: Callable[[float], int]) -> float | int | None:
    if value is None or column.dtype == "string":
        return None
    return rounded(value) if column.dtype == "int64" else float(np.float32(value))


def _is_empty(values: Flat) -> np.ndarray:
    if isinstance(values, pa.Array):
        values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        empty: np.ndarray = pc.fill_null(pc.equal(pc.binary_length(values), 0), True).to_numpy(zero_copy_only=False)
        return empty
    nothing = "" if values.dtype.kind == "U" else MISSING_STRING
    return np.asarray(values == nothing, bool)


def _among_later(times: np.ndarray) -> np.ndarray:
    early = times < FIRST_PLAUSIBLE
    return early if not early.all() else np.zeros(len(times), bool)


def _fault(column: Column, values: Flat, offsets: np.ndarray, position: int) -> Fault:
    record = int(np.searchsorted(offsets, position, side="right")) - 1
    if column.dtype == "string":
        fix = f"give every record its {column.name}, or leave out the records without"
        return Fault(column.name, record, "an empty string", expected_of(column), fix)
    value = np.asarray(values)[position].item()
    if column.name == TIMESTAMP:
        return Fault(column.name, record, *_about_time(value, column))
    fix = "correct the value, or the column's bounds in the source's declaration"
    return Fault(column.name, record, _short(value), expected_of(column), fix)


def _about_time(value: int, column: Column) -> tuple[object, str, str]:
    expected = expected_of(column)
    for factor, unit in _UNITS.items():
        if FIRST_PLAUSIBLE <= value // factor <= LAST_TIMESTAMP and value > LAST_TIMESTAMP:
            day = datetime.fromtimestamp(value // factor, UTC).date()
            return value, expected, f"it looks like {unit} ({day}): divide by {factor:,}"
    if 0 <= value < FIRST_PLAUSIBLE:
        expected += ", all before or all after 1990"
        return value, expected, "the other records have later times: give this one its time, or leave it out"
    return value, expected, "give every record its time in seconds since 1970, UTC"


def _short(value: float | int) -> object:
    return f"{value:.9g}" if isinstance(value, float) else value


def elements_of(columns: Mapping[str, Any]) -> Elements:
    """Checks parsed columns: dense tensors `[n, ...]`, and ragged ones."""

    def elements(column: Column) -> tuple[Flat, np.ndarray]:
        values = columns[column.name]
        if hasattr(values, "row_splits"):
            return values.flat_values.numpy(), values.row_splits.numpy()
        array = values.numpy()
        return array.reshape(-1), np.arange(len(array) + 1) * math.prod(array.shape[1:])

    return elements
