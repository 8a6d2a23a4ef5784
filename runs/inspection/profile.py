"""What a sample of a column shows: its type, missing and distinct values, times, lists, and what it depends on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np

from runs.audit.strength import binned
from transforms.arrow import pa, pc
from transforms.domains import FIRST_PLAUSIBLE
from transforms.features import LAST_TIMESTAMP
from transforms.sources.table.key_types import Unit

Kind: TypeAlias = Literal["empty", "bool", "int", "float", "string", "date", "datetime", "list"]

PATTERNS = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y%m%d%H%M%S", "%Y%m%d", "%y%m%d%H", "%d/%b/%Y:%H:%M:%S %z", "%d-%b-%Y",
    "%a %b %d %H:%M:%S %Y",
)  # fmt: skip
_UNITS: dict[Unit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?")
_INTEGER, _NUMBER = re.compile(r"[+-]?\d{1,18}"), re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_TRUTHS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"})
_SEPARATORS = "|;, "
_MOST_PARSED = 2_000
"""Values to which the patterns of times and lists are applied."""
_BINS = 16


@dataclass(frozen=True)
class Lists:
    """A column of lists or of delimited texts.

    Args:
      element: the kind of its elements.
      lengths: int64 `[n]`, of each list.
      separator: of delimited texts; None: lists.
      labelled: character between id and label in each element, `-` in `N1-1`; None: there are no labels.
      distinct: share of elements that are not the same as another one.
    """

    element: Kind
    lengths: np.ndarray
    separator: str | None = None
    labelled: str | None = None
    distinct: float = 0.0

    @property
    def width(self) -> int | None:
        """The length that all lists have; None: they differ."""
        lengths = np.unique(self.lengths)
        return int(lengths[0]) if len(lengths) == 1 else None


@dataclass(frozen=True)
class ColumnProfile:
    """What a sample of a column shows.

    Args:
      name: of the column.
      kind: the type of its values, also where they are written as text.
      codes: int64 `[n]`: equal where values are equal; -1 = missing.
      numbers: float64 `[n]`: values of numbers, truth values and times in their unit; NaN where missing.
      texts: distinct values, as text, the first ones seen first.
      unit, formats: how times are written; several formats: all of them fit.
      zoned: times say their zone.
      lists: see `Lists`; for kind `list`.
      decimal_comma: numbers are written with a decimal comma, `26,04`.
    """

    name: str
    kind: Kind
    codes: np.ndarray
    numbers: np.ndarray | None
    texts: tuple[str, ...]
    unit: Unit | None = None
    formats: tuple[str, ...] = ()
    zoned: bool = False
    lists: Lists | None = None
    decimal_comma: bool = False

    @property
    def rows(self) -> int:
        """Number of values in the sample."""
        return len(self.codes)

    @property
    def missing(self) -> float:
        """Share of missing values."""
        return float(np.mean(self.codes < 0)) if len(self.codes) else 1.0

    @property
    def distinct(self) -> int:
        """Number of distinct values."""
        return len(self.texts)

    @property
    def is_key(self) -> bool:
        """True if no value is missing or stands in two rows."""
        return self.distinct == self.rows > 0

    @property
    def is_time(self) -> bool:
        """True if its values are times, or numbers that may be times."""
        return self.kind in ("date", "datetime") or self.unit is not None

    def bins(self) -> np.ndarray:
        """Codes with numbers of many values cut into quantiles; int64 `[n]`, -1 = missing."""
        if self.numbers is None or self.distinct <= 2 * _BINS:
            return self.codes
        return binned(self.numbers, _BINS)


def profile(name: str, values: pa.ChunkedArray) -> ColumnProfile:
    """Describes one column of a sample."""
    array = values.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_fixed_size_list(array.type):
        array = pa.array(array.to_pylist(), pa.list_(array.type.value_type))
    kind = array.type
    if pa.types.is_null(kind):
        return ColumnProfile(name, "empty", np.full(len(array), -1), None, ())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_lists(name, array)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        codes, texts = _codes(array)
        is_date, zoned = pa.types.is_date(kind), pa.types.is_timestamp(kind) and kind.tz is not None
        seconds = pc.cast(array.cast(pa.timestamp("us")), pa.int64())
        numbers = seconds.to_numpy(zero_copy_only=False).astype(np.float64)
        return ColumnProfile(name, "date" if is_date else "datetime", codes, numbers, texts, zoned=zoned)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_texts(name, array)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        array = pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    codes, texts = _codes(array)
    if not texts:
        return ColumnProfile(name, "empty", codes, None, texts)
    if pa.types.is_boolean(kind):
        return ColumnProfile(name, "bool", codes, _numbers(array.cast(pa.int8())), texts)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _of_numbers(name, codes, _numbers(array.cast(pa.float64(), safe=False)), texts)
    return ColumnProfile(name, "string", codes, None, texts)


def dependence(values: np.ndarray, keys: np.ndarray, seed: int = 0) -> float:
    """How far values are determined by a key: 1 - H(value | key) / H(shuffled value | key).

    Args:
      values, keys: codes, int64 `[n]`, -1 = missing.
      seed: of the shuffle, which is what chance alone would show.

    Returns:
      0: no more than by chance; 1: wholly. NaN: too few keys stand in several rows to tell.
    """
    # A missing value is a value, too: it may depend on the key.
    kept = keys >= 0
    values, keys = values[kept], keys[kept]
    counts = np.bincount(keys) if len(keys) else np.zeros(0, np.int64)
    often = counts[keys] > 1 if len(keys) else np.zeros(0, bool)
    if np.count_nonzero(counts > 1) < 20 or len(np.unique(values[often])) < 2:
        return float("nan")
    values, keys = values[often], keys[often]
    by_chance = _conditional_entropy(np.random.default_rng(seed).permutation(values), keys)
    return 1.0 - _conditional_entropy(values, keys) / by_chance if by_chance > 0 else float("nan")


def _conditional_entropy(values: np.ndarray, keys: np.ndarray) -> float:
    return _entropy(keys * (values.max() + 2) + values + 1) - _entropy(keys)


def _entropy(codes: np.ndarray) -> float:
    counts = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(-(counts * np.log(counts)).sum())


def _codes(array: pa.Array) -> tuple[np.ndarray, tuple[str, ...]]:
    encoded = array.dictionary_encode()
    codes = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, tuple(str(value) for value in encoded.dictionary.to_pylist())


def _numbers(array: pa.Array) -> np.ndarray:
    numbers: np.ndarray = array.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _of_numbers(name: str, codes: np.ndarray, numbers: np.ndarray, texts: tuple[str, ...]) -> ColumnProfile:
    real = numbers[~np.isnan(numbers)]
    is_whole = bool(np.all(np.mod(real, 1) == 0)) and not any(np.isinf(real))
    units = [
        unit
        for unit, factor in _UNITS.items()
        if len(real) and real.min() >= FIRST_PLAUSIBLE * factor and real.max() <= LAST_TIMESTAMP * factor
    ]
    formats = tuple(_formats(texts)) if is_whole and not units else ()
    unit = units[0] if units and len(texts) > 1 else None
    return ColumnProfile(name, "int" if is_whole else "float", codes, numbers, texts, unit, formats)


def _of_texts(name: str, array: pa.Array) -> ColumnProfile:
    array = pc.utf8_trim_whitespace(array)
    array = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
    codes, texts = _codes(array)
    tried = texts[:_MOST_PARSED]
    if not texts:
        return ColumnProfile(name, "empty", codes, None, texts)
    if {text.lower() for text in tried} in _TRUTHS:
        positive = np.array([text.lower()[0] in "ty" for text in texts], np.float64)
        return ColumnProfile(name, "bool", codes, _at(positive, codes), texts)
    if all(_NUMBER.fullmatch(text) for text in texts):
        numbers = _at(np.array([float(text) for text in texts]), codes)
        # Leading zeros carry meaning, 007; and digits beyond an integer's are ids.
        if all(_INTEGER.fullmatch(text) for text in texts) and any(re.match(r"0\d", text) for text in texts):
            return ColumnProfile(name, "string", codes, None, texts, formats=tuple(_formats(tried)))
        column = _of_numbers(name, codes, numbers, texts)
        is_whole = column.kind == "int" and not any("." in text for text in texts)
        return column if is_whole else ColumnProfile(name, "float", codes, numbers, texts)
    if all(_COMMA.fullmatch(text) for text in texts) and any(re.search(r",(\d{1,2}|\d{4,})$", text) for text in texts):
        values = np.array([float(text.replace(".", "").replace(",", ".")) for text in texts])
        return ColumnProfile(name, "float", codes, _at(values, codes), texts, decimal_comma=True)
    if all(_ISO.fullmatch(text) for text in tried):
        is_date, zoned = all(len(text) == 10 for text in tried), all(re.search(r"[Z+]|-\d\d:?\d\d$", t) for t in tried)
        order = _at(np.argsort(np.argsort(np.array(texts))).astype(np.float64), codes)
        return ColumnProfile(name, "date" if is_date else "datetime", codes, order, texts, zoned=zoned and not is_date)
    formats = tuple(_formats(tried))
    if formats:
        has_hours = any("%H" in one or "%I" in one for one in formats)
        parsed = [datetime.strptime(text, formats[0]).replace(tzinfo=None) for text in texts]
        order = _at(np.array([(one - datetime(1970, 1, 1)).total_seconds() for one in parsed]), codes)
        return ColumnProfile(name, "datetime" if has_hours else "date", codes, order, texts, formats=formats)
    lists = _delimited(array, tried)
    return ColumnProfile(name, "list" if lists else "string", codes, None, texts, lists=lists)


def _at(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.where(codes >= 0, values[codes], np.nan)


def _formats(texts: Sequence[str]) -> Iterator[str]:
    """Gives the patterns of strptime that fit all texts."""
    for pattern in PATTERNS:
        if all(_fits(text, pattern) for text in texts[:20]) and all(_fits(text, pattern) for text in texts):
            yield pattern


def _fits(text: str, pattern: str) -> bool:
    # strptime takes 2022041 for a day, too.
    if pattern in ("%Y%m%d", "%y%m%d%H", "%Y%m%d%H%M%S") and len(text) != {"%Y%m%d": 8, "%y%m%d%H": 8}.get(pattern, 14):
        return False
    try:
        year = datetime.strptime(text, pattern).year
    except ValueError:
        return False
    return 1990 <= year < 2100


def _of_lists(name: str, array: pa.Array) -> ColumnProfile:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    elements = profile(name, pa.chunked_array([array.flatten()]))
    distinct = elements.distinct / max(1, elements.rows)
    lists = Lists(elements.kind, lengths, distinct=distinct)
    # Lists are compared by their first element and length: what they depend on is told by that.
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    codes = np.where(lengths > 0, np.append(elements.codes, -1)[np.minimum(starts, elements.rows)], -2)
    codes = np.unique(codes * 4096 + np.minimum(lengths, 4095), return_inverse=True)[1].astype(np.int64)
    kind: Kind = "list" if len(array) and not missing.all() else "empty"
    return ColumnProfile(name, kind, np.where(missing, -1, codes), None, elements.texts, lists=lists)


def _delimited(array: pa.Array, texts: Sequence[str]) -> Lists | None:
    """Tries to read texts as delimited lists: short elements that come again."""
    for separator in _SEPARATORS:
        parts = [[part.strip() for part in text.split(separator)] for text in texts]
        elements = [element for part in parts for element in part]
        several = sum(len(part) > 1 for part in parts)
        if several < max(2, len(parts) / 10) or any(" " in one and separator == " " for one in elements):
            continue
        numbers = all(_NUMBER.fullmatch(one) for one in elements)
        ids = all(re.fullmatch(r"[\w.:-]+", one) and re.search(r"\d", one) for one in elements)
        short = all(len(one) <= 40 and one for one in elements)
        again = len(set(elements)) / len(elements)
        # Words of a title are no list: between spaces and commas only ids and numbers count.
        if (separator in "|;" and short and (numbers or again < 0.8)) or (separator in ", " and (numbers or ids)):
            lengths = np.array([len(text.split(separator)) if text else 0 for text in array.to_pylist()], np.int64)
            marks = [mark for mark in "-:" if all(re.fullmatch(rf".+{mark}[01]", one) for one in elements)]
            kind: Kind = "string" if not numbers else "float" if any("." in one for one in elements) else "int"
            return Lists(kind, lengths, separator, marks[0] if marks else None, again)
    return None
