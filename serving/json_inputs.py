"""A JSON file as the inputs of a Predict request, judged by the model's signature before it is sent."""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client import Signature, Tensor
from transforms.errors import InputError
from transforms.plain_text import parse_json


def read_inputs(path: str | os.PathLike[str], signature: Signature) -> dict[str, np.ndarray]:
    """The file's values as arrays of the types and shapes that the signature asks for.

    Args:
      path: a JSON object, input name to nested lists of equal lengths; null is a missing number.
      signature: of the model, as the server tells it.

    Raises:
      InputError: not such a file; an input is unknown, missing, or of another type, rank or batch size.
    """
    values = _object(path)
    known = list(signature.inputs)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            fix = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise InputError(f"{path}, input {name!r}", "an unknown input", f"one of {', '.join(known)}", fix)
    missing = [name for name in known if name not in values and name not in signature.defaults]
    if missing:
        raise InputError(str(path), f"nothing for {', '.join(missing)}", f"all of {', '.join(known)}", "add them")
    arrays = {name: _array(value, signature.inputs[name], f"{path}, input {name!r}") for name, value in values.items()}
    _check_batch(arrays, str(path))
    return arrays


def _object(path: str | os.PathLike[str]) -> dict[str, Any]:
    expected, fix = "a JSON object: input name to list of values", "correct the file"
    try:
        values = parse_json(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(str(path), str(error), expected, fix) from error
    if not isinstance(values, dict):
        raise InputError(str(path), type(values).__name__, expected, fix)
    return values


def _array(value: Any, tensor: Tensor, where: str) -> np.ndarray:
    expected = f"{tensor.dtype} values of shape {_shape(tensor)}"
    array = np.array(value, object)
    for leaf in array.ravel().tolist():
        if isinstance(leaf, list):
            raise InputError(where, "lists of unequal lengths", expected, "pad them: '' for text, -1 for integers")
        if not _fits(leaf, tensor.dtype):
            raise InputError(where, json.dumps(leaf), expected, "correct the value")
    sizes = tensor.shape
    if sizes is not None and (
        len(sizes) != array.ndim or any(size not in (None, found) for size, found in zip(sizes, array.shape))
    ):
        raise InputError(where, f"shape {list(array.shape)}", expected, "nest the lists so")
    if tensor.dtype == "string":
        return array
    numbers = np.array([np.nan if leaf is None else leaf for leaf in array.ravel().tolist()], tensor.dtype)
    return numbers.reshape(array.shape)


def _fits(value: Any, dtype: str) -> bool:
    if dtype == "string":
        return isinstance(value, str)
    if isinstance(value, bool) or dtype == "bool":
        return isinstance(value, bool) and dtype == "bool"
    if dtype.startswith(("int", "uint")):
        limits = np.iinfo(dtype)
        return isinstance(value, int) and limits.min <= value <= limits.max
    return value is None or isinstance(value, int | float)


def _shape(tensor: Tensor) -> str:
    if tensor.shape is None:
        return "any"
    return "[" + ", ".join("any" if size is None else str(size) for size in tensor.shape) + "]"


def _check_batch(arrays: Mapping[str, np.ndarray], path: str) -> None:
    sizes = {name: array.shape[0] for name, array in arrays.items() if array.ndim}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(path, f"so many records: {found}", "equally many of each, 1 or more", "complete the lists")
