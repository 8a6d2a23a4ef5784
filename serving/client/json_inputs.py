"""Reads the inputs of a Predict request from a JSON file, checked against the model's signature."""

import json
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.inputs import (
    Signature,
    Tensor,
    is_option,
    padded_values,
    shape_text,
    width_of,
)
from serving.client.lists import MISSING, padded_lists
from transforms.errors import InputError
from transforms.features import CANDIDATE
from transforms.import_path import nearest
from transforms.plain_text import parse_json

_EXPECTED = "a JSON object, input name to list of values, or an object per line, one a record"


def read_inputs(path: str | os.PathLike[str], signature: Signature) -> dict[str, np.ndarray]:
    """Reads the values of a file as arrays of the types and shapes of a signature.

    Args:
      path: a JSON object, input name to nested lists; or JSON Lines, an object with the values of one record per line,
        where what is left out, by one record or by all, is null and candidates are padded. Null is a missing value.
        Lists may have any lengths; a missing marker at the end of one is padding, and null is not: see `padded_lists`.
        Of a fixed number of values some may be left out at the end: see `padded_values`. A whole number for a string
        is its digits.
      signature: of the model, as the server reports it.

    Raises:
      InputError: not such a file; an input is unknown, missing, or of another type, rank or batch size.
    """
    values = _object(path, signature)
    known = list(signature.inputs)
    for name in values:
        if name not in known:
            expected = f"one of {', '.join(known)}"
            raise InputError(f"{path}, input {name!r}", "an unknown input", expected, nearest(name, known))
    required = [name for name in known if name not in signature.defaults]
    missing = [name for name in required if name not in values]
    if missing:
        raise InputError(str(path), f"nothing for {', '.join(missing)}", f"all of {', '.join(required)}", "add them")
    arrays: dict[str, np.ndarray] = {}
    for name, value in values.items():
        tensor, where, lengths = signature.inputs[name], f"{path}, input {name!r}", signature.lengths_of(name)
        if lengths is None:
            if width_of(tensor) is not None:
                value = _filled(value, tensor, where)
            arrays[name] = _array(value, tensor, where, _null_of(name, tensor, signature))
            continue
        arrays[name], list_lengths = _lists(value, tensor, where)
        if lengths not in values:
            arrays[lengths] = list_lengths
    _check_batch(arrays, signature, str(path))
    return arrays


def _null_of(name: str, tensor: Tensor, signature: Signature) -> Any:
    """Returns the value that null stands for in an input; None where null is not allowed."""
    return None if name == CANDIDATE or is_option(name, signature) else MISSING.get(tensor.dtype)


def _object(path: str | os.PathLike[str], signature: Signature) -> dict[str, Any]:
    """Reads the values of a file by input name; of records, one object each, the columns."""
    fix = "correct the file"
    try:
        text = Path(path).read_text()
    except FileNotFoundError as error:
        raise InputError(str(path), "no such file", _EXPECTED, "correct the path") from error
    except (OSError, ValueError) as error:
        raise InputError(str(path), str(error), _EXPECTED, fix) from error
    try:
        values = parse_json(text)
    except ValueError as error:
        values = _lines(path, text, error)
    if isinstance(values, list) and values and all(isinstance(one, dict) for one in values):
        return _columns(values, signature, str(path))
    if not isinstance(values, dict):
        raise InputError(str(path), "JSON of another form", _EXPECTED, fix)
    alone = [name for name, tensor in signature.inputs.items() if name in values and len(tensor.shape or ()) == 1]
    if alone and not any(isinstance(values[name], list) for name in alone):
        return _columns([values], signature, str(path))
    return values


def _lines(path: str | os.PathLike[str], text: str, error: ValueError) -> list[Any]:
    """Reads JSON Lines; raises the error of the whole text where not even the first line is JSON."""
    records: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.strip():
                records.append(parse_json(line))
        except ValueError as wrong:
            place, cause = (f"{path}, line {number}", wrong) if records else (str(path), error)
            raise InputError(place, str(cause), _EXPECTED, "correct the file") from cause
    return records


def _columns(records: list[dict[str, Any]], signature: Signature, path: str) -> dict[str, Any]:
    """Returns records as columns: what a record lacks is null, and lists of candidates are padded and masked."""
    names = dict.fromkeys(name for record in records for name in record)
    names |= dict.fromkeys(_left_out(names.keys(), signature))
    columns: dict[str, Any] = {name: [record.get(name) for record in records] for name in names}
    for name in (name for name in columns if _is_list(name, signature)):
        columns[name] = [[] if values is None else values for values in columns[name]]
    if CANDIDATE not in signature.inputs:
        return columns
    each = [
        name
        for name in columns
        if name in signature.inputs and name != CANDIDATE and _is_per_candidate(signature.inputs[name], name, signature)
    ]
    counts = []
    for place, record in enumerate(records, 1):
        sizes = {name: len(record[name]) for name in (*each, CANDIDATE) if isinstance(record.get(name), list)}
        if len(set(sizes.values())) > 1:
            received = ", ".join(f"{name} {size}" for name, size in sizes.items())
            fix = "give a value for each candidate"
            raise InputError(f"{path}, record {place}", f"unequal numbers of candidates: {received}", "one number", fix)
        counts.append(next(iter(sizes.values()), 0))
    most = max(counts)
    for name in each:
        filler: Any = [] if len(signature.inputs[name].shape or ()) > 2 else None
        columns[name] = [(value or []) + [filler] * (most - len(value or [])) for value in columns[name]]
    masks = columns.get(CANDIDATE, [None] * len(records))
    columns[CANDIDATE] = [(mask or [1] * count) + [0] * (most - count) for mask, count in zip(masks, counts)]
    return columns


def _left_out(names: Set[str], signature: Signature) -> list[str]:
    """Returns the inputs that no record has and that can be missing; of candidates only if a record has any."""
    inputs = signature.inputs
    offered = any(name in inputs and _is_per_candidate(inputs[name], name, signature) for name in names - {CANDIDATE})
    return [
        name
        for name, tensor in inputs.items()
        if name not in names
        and not is_option(name, signature)
        and name != CANDIDATE
        and tensor.dtype in MISSING
        and (
            tensor.shape == (None,)
            or _is_list(name, signature)
            or (offered and CANDIDATE in inputs and _is_per_candidate(tensor, name, signature))
        )
    ]


def _is_list(name: str, signature: Signature) -> bool:
    """True if an input has a list for each record, of any length or of a fixed number of values."""
    tensor = signature.inputs.get(name)
    is_fixed = tensor is not None and len(tensor.shape or ()) == 2 and width_of(tensor) is not None
    return is_fixed or signature.lengths_of(name) is not None


def _is_per_candidate(tensor: Tensor, name: str, signature: Signature) -> bool:
    """True if an input has a value, or a list, for each candidate of each request."""
    shape = tensor.shape or ()
    return len(shape) > 1 and shape[:2] == (None, None) and signature.lengths_of(name) is None


def _lists(value: Any, tensor: Tensor, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns lists of any lengths, padded, and their lengths."""
    expected = f"{tensor.dtype} values of shape {shape_text(tensor.shape)}"
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise InputError(where, f"shape {list(np.array(value, object).shape)}", expected, "nest the lists so")
    lists = [[_as_text(leaf, tensor.dtype) for leaf in one] for one in value]
    for leaf in (leaf for one in lists for leaf in one):
        if leaf is not None and not _fits(leaf, tensor.dtype):
            raise _refused(leaf, tensor.dtype, where, expected)
    array, lengths = padded_lists(lists, tensor.dtype)
    return array if tensor.dtype == "string" else array.astype(tensor.dtype), lengths


def _filled(value: Any, tensor: Tensor, where: str) -> Any:
    """Returns the lists of an input that takes a fixed number of values, filled up."""
    try:
        return padded_values(value, tensor)
    except ValueError as error:
        received = str(error).partition("; ")[0].removeprefix("received ")
        raise InputError(where, received, f"at most {width_of(tensor)} in each list", "leave some out") from error


def _array(value: Any, tensor: Tensor, where: str, null: Any) -> np.ndarray:
    expected = f"{tensor.dtype} values of shape {shape_text(tensor.shape)}"
    array = np.array(value, object)
    leaves = [_as_text(leaf, tensor.dtype) for leaf in array.ravel().tolist()]
    for leaf in leaves:
        if isinstance(leaf, list):
            raise InputError(where, "lists of unequal lengths", expected, "give a value for each candidate")
        if not (leaf is None and null is not None) and not _fits(leaf, tensor.dtype):
            raise _refused(leaf, tensor.dtype, where, expected)
    sizes = tensor.shape
    if sizes is not None and (
        len(sizes) != array.ndim or any(size not in (None, actual) for size, actual in zip(sizes, array.shape))
    ):
        raise InputError(where, f"shape {list(array.shape)}", expected, "nest the lists so")
    values = [null if leaf is None else leaf for leaf in leaves]
    if tensor.dtype == "string":
        # The last one keeps NumPy from making numbers or wider arrays of the others.
        return np.array([*values, None], object)[:-1].reshape(array.shape)
    return np.array(values, tensor.dtype).reshape(array.shape)


def _as_text(value: Any, dtype: str) -> Any:
    """Returns a whole number's digits where an input takes strings, as imports write ids; other values as they are."""
    if dtype != "string" or isinstance(value, bool):
        return value
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 2**53)
    return str(int(value)) if is_whole else value


def _refused(value: Any, dtype: str, where: str, expected: str) -> InputError:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fix = f'quote it: "{json.dumps(value)}"' if dtype == "string" and is_number else "correct the value"
    return InputError(where, json.dumps(value), expected, fix)


def _fits(value: Any, dtype: str) -> bool:
    if dtype == "string":
        return isinstance(value, str)
    if isinstance(value, bool) or dtype == "bool":
        return isinstance(value, bool) and dtype == "bool"
    if dtype.startswith(("int", "uint")):
        limits = np.iinfo(dtype)
        return isinstance(value, int) and limits.min <= value <= limits.max
    return isinstance(value, int | float)


def _check_batch(arrays: Mapping[str, np.ndarray], signature: Signature, path: str) -> None:
    # What may be left out may also have one value for all records.
    optional = {name for name in arrays if name in signature.defaults and len(np.atleast_1d(arrays[name])) == 1}
    sizes = {name: array.shape[0] for name, array in arrays.items() if array.ndim and name not in optional}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(
            path,
            f"unequal numbers of records: {counts}",
            "the same number in each, 1 or more",
            "complete the lists",
        )
