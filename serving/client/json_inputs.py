"""Reads the inputs of a Predict request from a JSON file, checked against the model's signature."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.inputs import MISSING, Signature, Tensor, padded_lists, padded_values, shape_text, width_of
from transforms.errors import InputError
from transforms.features import CANDIDATE
from transforms.import_path import nearest
from transforms.plain_text import parse_json


def read_inputs(path: str | os.PathLike[str], signature: Signature) -> dict[str, np.ndarray]:
    """Reads the values of a file as arrays of the types and shapes of a signature.

    Args:
      path: a JSON object, input name to nested lists. Null is a missing value. Lists may have any lengths; a missing
        marker at the end of one is padding, and null is not: see `padded_lists`. Of a fixed number of values some may
        be left out at the end: see `padded_values`.
      signature: of the model, as the server reports it.

    Raises:
      InputError: not such a file; an input is unknown, missing, or of another type, rank or batch size.
    """
    values = _object(path)
    known = list(signature.inputs)
    for name in values:
        if name not in known:
            expected = f"one of {', '.join(known)}"
            raise InputError(f"{path}, input {name!r}", "an unknown input", expected, nearest(name, known))
    missing = [name for name in known if name not in values and name not in signature.defaults]
    if missing:
        raise InputError(str(path), f"nothing for {', '.join(missing)}", f"all of {', '.join(known)}", "add them")
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
    return None if name == CANDIDATE or name in signature.defaults else MISSING.get(tensor.dtype)


def _object(path: str | os.PathLike[str]) -> dict[str, Any]:
    expected, fix = "a JSON object: input name to list of values", "correct the file"
    try:
        values = parse_json(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(str(path), str(error), expected, fix) from error
    if not isinstance(values, dict):
        raise InputError(str(path), type(values).__name__, expected, fix)
    return values


def _lists(value: Any, tensor: Tensor, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns lists of any lengths, padded, and their lengths."""
    expected = f"{tensor.dtype} values of shape {shape_text(tensor.shape)}"
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise InputError(where, f"shape {list(np.array(value, object).shape)}", expected, "nest the lists so")
    for leaf in (leaf for one in value for leaf in one):
        if leaf is not None and not _fits(leaf, tensor.dtype):
            raise InputError(where, json.dumps(leaf), expected, "correct the value")
    array, lengths = padded_lists(value, tensor.dtype)
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
    for leaf in array.ravel().tolist():
        if isinstance(leaf, list):
            raise InputError(where, "lists of unequal lengths", expected, "give a value for each candidate")
        if not (leaf is None and null is not None) and not _fits(leaf, tensor.dtype):
            raise InputError(where, json.dumps(leaf), expected, "correct the value")
    sizes = tensor.shape
    if sizes is not None and (
        len(sizes) != array.ndim or any(size not in (None, actual) for size, actual in zip(sizes, array.shape))
    ):
        raise InputError(where, f"shape {list(array.shape)}", expected, "nest the lists so")
    values = [null if leaf is None else leaf for leaf in array.ravel().tolist()]
    if tensor.dtype == "string":
        # The last one keeps NumPy from making numbers or wider arrays of the others.
        return np.array([*values, None], object)[:-1].reshape(array.shape)
    return np.array(values, tensor.dtype).reshape(array.shape)


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
