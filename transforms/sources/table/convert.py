"""Raw columns of any type as texts and numbers; missing values are markers; a bad one is refused."""

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.features import MISSING_INT
from transforms.sources.table.conditions import Comparison
from transforms.sources.table.key_types import Decimal, Value
from transforms.sources.table.parts import Label

Where: TypeAlias = Callable[[int], str]
"""From the place of a record to where its value stands: `clicks.csv, line 7, column price`."""

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMMA_NUMBER = r"^[+-]?(([1-9]\d{0,2}(\.\d{3})+|\d+)(,\d*)?|,\d+)([eE][+-]?\d+)?$"
_INTEGER = r"^[+-]?\d+(\.0*)?$"
_TRUE, _FALSE = ("1", "1.0", "true", "t", "yes", "y"), ("0", "0.0", "false", "f", "no", "n")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_WHOLE_BITS = {16: 11, 32: 24, 64: 53}
"""Whole numbers of fewer bits are exact in floats of this width."""
_LARGEST = float(np.finfo(np.float32).max)
_CORRECT = "correct the value, or the declaration"


def texts(array: pa.Array, where: Where, exact: bool = True) -> pa.Array:
    """Returns strings; integers keep their digits, also where another reader wrote them as 123.0; missing: empty.

    Args:
      array: of values of any type.
      where: for messages.
      exact: refuse floats so large that their last digits are lost.
    """
    array = scalars(array, where)
    kind = array.type
    if pa.types.is_string(kind):
        return array.fill_null("")
    if pa.types.is_floating(kind):
        values = array.to_numpy(zero_copy_only=False).astype(np.float64)
        lost = np.abs(values) >= 2.0 ** _WHOLE_BITS[kind.bit_width]
        expected = f"ids of less than {2 ** _WHOLE_BITS[kind.bit_width]:,}, beyond which such floats lose digits"
        refuse(lost & exact, array, where, expected, "write the column as integers or strings")
        is_whole = ~(lost | np.isnan(values)) & (values == np.floor(values))
        digits = pa.array(np.where(is_whole, values, 0).astype(np.int64)).cast(pa.string())
        floats = array if kind.bit_width > 16 else array.cast(pa.float32())
        written = pc.if_else(pa.array(is_whole), digits, floats.cast(pa.string()))
        return pc.if_else(pa.array(np.isnan(values)), "", written).fill_null("")
    if pa.types.is_decimal(kind):
        # Arrow 10 writes no decimals as text.
        written = pa.array(["" if value is None else str(value) for value in array.to_pylist()], pa.string())
        return pc.replace_substring_regex(written, r"\.0+$", "")
    try:
        return array.cast(pa.string()).fill_null("")
    except pa.ArrowInvalid as error:
        raise InputError(where(0), f"bytes that are not UTF-8 ({error})", "text", "correct the file") from error
    except pa.ArrowNotImplementedError as error:
        raise InputError(where(0), *_other_kind(kind, "one value", "name another column")) from error


def _other_kind(kind: pa.DataType, expected: str, fix: str) -> tuple[str, str, str]:
    """Returns what was received, what was expected, and the fix."""
    if pa.types.is_struct(kind) and kind.num_fields:
        members = [field.name for field in kind]
        return f"an object of {', '.join(members)}", expected, f"name a member of it with a dot: .{members[0]}"
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "an object without members of its own", expected, "name another column"
    return f"a column of type {kind}", expected, fix


def numbers(array: pa.Array, where: Where, decimal: Decimal | None = None) -> np.ndarray:
    """Returns float64; missing: NaN.

    Args:
      array: of numbers or texts.
      where: for messages.
      decimal: the decimal mark of texts, a dot also between thousands if it is a comma; None: no CSV file.
    """
    array = scalars(array, where)
    values = _floats(array, where, decimal)
    fix = "correct the value, or leave it empty where it is not known"
    refuse(np.abs(values) > _LARGEST, array, where, "a finite number, of at most 3.4e38 as float32 has them", fix)
    return values


def _floats(array: pa.Array, where: Where, decimal: Decimal | None) -> np.ndarray:
    if is_text(array.type):
        array = _numerals(array, where, decimal, _NUMBER, "a number")
    elif pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    elif not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type)):
        raise InputError(where(0), *_other_kind(array.type, "numbers", "correct the type in the declaration"))
    values: np.ndarray = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def integers(array: pa.Array, where: Where, decimal: Decimal | None = None) -> np.ndarray:
    """Returns int64; missing: -1."""
    array = scalars(array, where)
    if is_text(array.type):
        array = _numerals(array, where, decimal, _INTEGER, "a whole number")
        array = pc.replace_substring_regex(array, r"\.0*$", "")
    elif pa.types.is_boolean(array.type):
        array = array.cast(pa.int64())
    elif not pa.types.is_integer(array.type):
        values = numbers(array, where)
        refuse(~np.isnan(values) & (values != np.floor(values)), array, where, "a whole number")
        array = pa.array(np.nan_to_num(values, nan=MISSING_INT))
    try:
        result: np.ndarray = array.cast(pa.int64()).fill_null(MISSING_INT).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        row = int(np.argmax(np.abs(_floats(array, where, None)) >= 2.0**63))
        fix = "declare the column a float, or a string"
        raise InputError(where(row), shown(array[row].as_py()), "a whole number of 64 bits", fix) from error
    return result


def _numerals(array: pa.Array, where: Where, decimal: Decimal | None, pattern: str, expected: str) -> pa.Array:
    """Returns numbers in text with a decimal point, and nothing between thousands."""
    written = trimmed(array)
    pointed = _with_point(written, decimal)
    bad = ~matching(pointed, pattern)
    refuse(bad, written, where, expected, _fix_of(bad, written, decimal))
    return pc.replace_substring_regex(pointed, r"^\+", "")


def _with_point(array: pa.Array, decimal: Decimal | None) -> pa.Array:
    """Takes a decimal comma to a point; what is no number in this writing becomes `?`."""
    if decimal != ",":
        return array
    pointed = pc.replace_substring(pc.replace_substring(array, ".", ""), ",", ".")
    return pc.if_else(pa.array(matching(array, _COMMA_NUMBER)), pointed, "?")


def _fix_of(bad: np.ndarray, written: pa.Array, decimal: Decimal | None) -> str:
    """Returns what to do about the first bad value: it may be a number with the other decimal mark."""
    if decimal is None or not bad.any():
        return _CORRECT
    other, pattern = (",", _COMMA_NUMBER) if decimal == "." else (".", _NUMBER)
    if re.match(pattern, written[int(np.argmax(bad))].as_py()):
        return f"set csv.decimal to {other!r} if that is the decimal mark of the file, or correct the value"
    return _CORRECT


def truths(array: pa.Array, where: Where, decimal: Decimal | None = None) -> np.ndarray:
    """Returns int64, 1 for true and 0 for false; missing: -1."""
    array = scalars(array, where)
    if pa.types.is_boolean(array.type):
        booleans: np.ndarray = array.cast(pa.int64()).fill_null(MISSING_INT).to_numpy(zero_copy_only=False)
        return booleans
    written = pc.utf8_lower(pc.utf8_trim_whitespace(texts(array, where, exact=False)))
    values = pc.replace_substring_regex(written, r"^([01]),0$", r"\1.0") if decimal == "," else written
    is_true, is_false, missing = (_among(values, some) for some in (_TRUE, _FALSE, ("",)))
    bad = ~(is_true | is_false | missing)
    refuse(bad, written, where, "0 or 1, true or false, yes or no", _fix_of(bad, written, decimal))
    return np.where(is_true, 1, np.where(is_false, 0, MISSING_INT)).astype(np.int64)


def labels(
    array: pa.Array, rule: Label, where: Where, decimal: Decimal | None = None, key: str = "label"
) -> np.ndarray:
    """Returns float32 from 0 to 1; `key` is where the declaration says what a missing label means."""
    array = scalars(array, where)
    if rule.positive:
        missing = array.is_null().to_numpy(zero_copy_only=False) | _among(texts(array, where, exact=False), ("",))
        values = matches(array, rule.positive, where, decimal)
    elif rule.at_least is not None or rule.above is not None:
        amounts = numbers(array, where, decimal)
        missing = np.isnan(amounts)
        with np.errstate(invalid="ignore"):
            values = amounts > rule.above if rule.at_least is None else amounts >= rule.at_least
    else:
        values, missing = _probabilities(array, where, decimal)
    if rule.missing == "refused":
        fix = f"set {key}: {{missing: negative}} where a missing label is 0, or leave these records out"
        refuse(missing, array, where, "a label", fix)
    return np.where(missing, 0, values).astype(np.float32)


def _probabilities(array: pa.Array, where: Where, decimal: Decimal | None) -> tuple[np.ndarray, np.ndarray]:
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type) or pa.types.is_integer(array.type):
        values = numbers(array, where)
        with np.errstate(invalid="ignore"):
            outside = (values < 0) | (values > 1)
        fix = "say what is positive: label: {column: ..., at_least: 4}, or positive: [...]"
        refuse(outside, array, where, "0 or 1", fix)
        return values, np.isnan(values)
    values = truths(array, where, decimal)
    return values, values == MISSING_INT


def matches(array: pa.Array, values: Sequence[Value], where: Where, decimal: Decimal | None = None) -> np.ndarray:
    """Returns True where a value is one of some; numbers are compared as numbers, truth values in any writing."""
    array = scalars(array, where)
    written = pc.utf8_trim_whitespace(texts(array, where, exact=False))
    result = np.zeros(len(array), bool)
    for value in values:
        if isinstance(value, bool):
            result |= _among(pc.utf8_lower(written), _TRUE if value else _FALSE)
        elif isinstance(value, str):
            result |= _among(written, (value,))
        else:
            result |= _equal(array, written, value, decimal)
    return result


def _equal(array: pa.Array, written: pa.Array, value: float, decimal: Decimal | None) -> np.ndarray:
    """Returns True where a number is `value`; whole ones are compared to the last digit."""
    if isinstance(value, int) and pa.types.is_integer(array.type):
        return _whole(array, operator.eq, value)
    if isinstance(value, int) and abs(value) >= 2**53:
        return _among(written, (str(value),))
    return _numbers_or_none(array, decimal) == float(value)


def _whole(array: pa.Array, compare: Callable[[Any, int], Any], value: int) -> np.ndarray:
    """Compares integers; a missing one with nothing."""
    present = array.is_valid().to_numpy(zero_copy_only=False)
    return present & np.asarray(compare(array.fill_null(0).to_numpy(zero_copy_only=False), value), bool)


def _numbers_or_none(array: pa.Array, decimal: Decimal | None) -> np.ndarray:
    """Returns float64; what is no number is NaN."""
    if is_text(array.type):
        array = _with_point(trimmed(array), decimal)
        array = pc.if_else(pa.array(matching(array, _NUMBER)), array, pa.scalar(None, pa.string()))
    return _floats(array, lambda row: "", None)


def holds(
    comparisons: Sequence[Comparison],
    column: Callable[[str], pa.Array],
    where: Where,
    decimal: Decimal | None = None,
) -> np.ndarray:
    """Returns True where all comparisons hold; a missing value is the empty text, and unequal to all else.

    Args:
      comparisons: of `parse_condition`.
      column: values by name.
      where: for messages.
      decimal: as in `numbers`.
    """
    result: np.ndarray = np.ones(1, bool)
    for one in comparisons:
        array = column(one.column)
        if one.op in ("==", "in", "!="):
            true = matches(array, one.literals, where, decimal)
            true = ~true if one.op == "!=" else true
        else:
            limit = one.literals[0]
            if isinstance(limit, str):
                raise InputError(f"condition on {one.column!r}", repr(limit), "a number", "compare texts by == or in")
            array = scalars(array, where)
            if isinstance(limit, int) and pa.types.is_integer(array.type):
                true = _whole(array, _COMPARE[one.op], limit)
            else:
                with np.errstate(invalid="ignore"):
                    true = _COMPARE[one.op](numbers(array, where, decimal), limit)
        result = result & true
    return result


def masked(array: pa.Array, missing: Sequence[Value], where: Where, decimal: Decimal | None = None) -> pa.Array:
    """Takes some values for missing ones."""
    if not missing:
        return array
    array = scalars(array, where)
    return pc.if_else(pa.array(matches(array, missing, where, decimal)), pa.scalar(None, array.type), array)


def scalars(array: pa.Array, where: Where) -> pa.Array:
    """Returns one value a record; lists of one (a tf.Example's) are taken for it."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        if (lengths > 1).any():
            row = int(np.argmax(lengths > 1))
            fix = "declare list, sequence or vector"
            raise InputError(where(row), f"{lengths[row]} values", "one value", fix)
        values = pc.list_flatten(array)
        places = np.where(lengths == 1, np.cumsum(lengths) - 1, 0)
        return scalars(values.take(pa.array(places, mask=lengths == 0)), where)
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise InputError(where(0), "bytes that are not UTF-8", "text", "correct the file") from error
    return array


def is_text(kind: pa.DataType) -> bool:
    """True if values are texts, as `scalars` leaves them."""
    return bool(pa.types.is_string(kind))


def trimmed(array: pa.Array) -> pa.Array:
    """Returns texts without spaces around them; null where nothing is left."""
    written = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.equal(written, ""), pa.scalar(None, pa.string()), written)


def matching(array: pa.Array, pattern: str) -> np.ndarray:
    """Returns True where a text matches, or is missing."""
    matching: np.ndarray = pc.match_substring_regex(array, pattern).fill_null(True).to_numpy(zero_copy_only=False)
    return matching


def _among(array: pa.Array, some: Sequence[str]) -> np.ndarray:
    among: np.ndarray = pc.is_in(array, pa.array(some, pa.string())).to_numpy(zero_copy_only=False)
    return among


def refuse(bad: np.ndarray, array: pa.Array, where: Where, expected: str, fix: str = _CORRECT) -> None:
    """Refuses the first bad value, if there is any.

    Raises:
      InputError: where it stands.
    """
    if bad.any():
        row = int(np.argmax(bad))
        value = array[row].as_py()
        raise InputError(where(row), shown(value), expected, fix)


def shown(value: object) -> str:
    """Returns a value as messages show it: texts in quotes, times and numbers as one writes them."""
    if value is None or value == "":
        return "nothing"
    return repr(value) if isinstance(value, str | bytes | list | dict) else str(value)
