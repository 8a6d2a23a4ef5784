"""The values of a feature in the type that its records have."""

from collections.abc import Callable

import numpy as np

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.features import MISSING_INT
from transforms.sources.table import convert
from transforms.sources.table.declaration import Declaration, FeatureDeclaration
from transforms.sources.table.key_types import Decimal
from transforms.sources.table.lists import cut, list_parts, lists
from transforms.sources.table.schema import dtype_of
from transforms.sources.table.times import local_seconds, seconds

DAY = 86_400


def ages(times: pa.Array, timestamps: pa.Array) -> pa.Array:
    """Returns days between times and events, float32; missing: NaN."""
    values = times.to_numpy(zero_copy_only=False)
    days = (timestamps.to_numpy(zero_copy_only=False) - values) / DAY
    return pa.array(np.where(values == MISSING_INT, np.nan, days).astype(np.float32))


def typed(
    log: Declaration,
    name: str,
    feature: FeatureDeclaration,
    array: pa.Array,
    where: convert.Where,
    decimal: Decimal | None = None,
) -> pa.Array:
    """Returns a feature's values in their type; times in UTC seconds, or the zone's clock for hours."""
    if feature.vector or feature.list or feature.sequence:
        return _several(feature, dtype_of(log, name), array, where, decimal)
    array = convert.masked(array, feature.missing, where, decimal)
    if feature.is_time:
        zone = feature.timezone or (log.timestamp.timezone if log.timestamp else None)
        times = seconds(array, where, feature.unit, feature.format, zone, of_event=False)
        return pa.array(times if dtype_of(log, name) == "float" else local_seconds(times, zone))
    if feature.type == "float":
        floats = convert.numbers(array, where, decimal)
        _refuse_outside(floats, np.isnan(floats), feature, array, where)
        return pa.array(floats.astype(np.float32))
    if feature.type == "int":
        integers = convert.integers(array, where, decimal)
        _refuse_outside(integers, integers == MISSING_INT, feature, array, where)
        return pa.array(integers)
    if feature.type == "bool":
        return pa.array(convert.truths(array, where, decimal))
    return convert.texts(array, where)


def _refuse_outside(
    values: np.ndarray, missing: np.ndarray, feature: FeatureDeclaration, array: pa.Array, where: convert.Where
) -> None:
    """Refuses values outside the domain that the declaration gives a number."""
    low = -np.inf if feature.min is None else feature.min
    high = np.inf if feature.max is None else feature.max
    with np.errstate(invalid="ignore"):
        outside = ~missing & ((values < low) | (values > high))
    bounds = [f"{name} {bound:g}" for name, bound in (("min", feature.min), ("max", feature.max)) if bound is not None]
    fix = "correct the value, the bounds, or name it in missing"
    convert.refuse(outside, array, where, f"a number within {' and '.join(bounds)}", fix)


def _several(
    feature: FeatureDeclaration, dtype: str, array: pa.Array, where: convert.Where, decimal: Decimal | None
) -> pa.Array:
    """Returns lists, cut to the length that the declaration says."""
    offsets, elements = list_parts(lists(array, feature.separator, where))
    record = np.repeat(np.arange(len(array)), np.diff(offsets))
    element: Callable[[int], str] = lambda row: where(int(record[row]))  # noqa: E731
    if feature.missing:
        elements = convert.masked(elements, feature.missing, element, decimal)
    if feature.vector is not None:
        return _vectors(convert.numbers(elements, element, decimal), offsets, feature.vector, where)
    if dtype == "int64":
        values = pa.array(convert.integers(elements, element, decimal))
    else:
        values = convert.texts(elements, element)
    length = feature.sequence or feature.list or 0
    offsets, values = cut(offsets, values, length, last=feature.sequence is not None)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _vectors(values: np.ndarray, offsets: np.ndarray, width: int, where: convert.Where) -> pa.Array:
    lengths = np.diff(offsets)
    wrong = (lengths != width) & (lengths != 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(where(row), f"{lengths[row]} numbers", f"{width}, or none", "correct vector, or the record")
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values.astype(np.float32)))
