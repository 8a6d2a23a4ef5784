"""Raw columns of lists, delimited texts or JSON lists as offsets and elements."""

import json
from contextlib import suppress
from typing import Any

import numpy as np

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.plain_text import parse_json
from transforms.sources.table.convert import Where, texts


def lists(array: pa.Array, separator: str | None, where: Where) -> pa.ListArray:
    """Returns lists of a list column, of delimited texts, or of texts that are JSON lists; missing: empty."""
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        offsets, values = list_parts(array)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
    written = texts(array, where)
    if separator is not None:
        parts = pc.split_pattern(pc.utf8_trim_whitespace(written), separator)
        empty = pc.equal(pc.binary_length(written), 0)
        return pc.if_else(empty, pa.scalar([], parts.type), parts)
    values = []
    for row, text in enumerate(written.to_pylist()):
        try:
            value = parse_json(text) if text else []
        except ValueError:
            value = None
        if not isinstance(value, list):
            raise InputError(where(row), repr(text), "a list", "give the separator of delimited texts: separator: '|'")
        values.append(value)
    return array_of(values) if any(values) else pa.array(values, pa.list_(pa.string()))


def array_of(values: list[Any]) -> pa.Array:
    """Returns values of one type; those of several become texts, or where lists or objects are among them JSON."""
    errors = (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)
    with suppress(*errors):
        return pa.array(values)
    with suppress(*errors):
        return pa.array([_as_text(value) for value in values])
    return pa.array([one if one is None or isinstance(one, str) else json.dumps(one, default=str) for one in values])


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    if isinstance(value, bool | dict):
        return json.dumps(value, default=str)
    return None if value is None else str(value)


def list_parts(array: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Returns offsets [n + 1] from 0 and the elements of an array of lists; a missing list is empty."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), pc.list_flatten(array)


def cut(offsets: np.ndarray, values: pa.Array, length: int, last: bool) -> tuple[np.ndarray, pa.Array]:
    """Keeps the first, or the last, `length` elements of each list."""
    sizes = np.minimum(np.diff(offsets), length)
    starts = offsets[1:] - sizes if last else offsets[:-1]
    kept = np.concatenate([[0], np.cumsum(sizes)])
    places = np.arange(kept[-1]) + np.repeat(starts - kept[:-1], sizes)
    return kept, values.take(pa.array(places))
