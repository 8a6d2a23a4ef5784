"""The signatures that a server reports, and a request's inputs as the arrays that one asks for; without TensorFlow."""

import re
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from serving import tensors
from serving.client.lists import MISSING, padded_lists
from serving.protocol import ServingError
from transforms.features import CANDIDATE, COUNT, LENGTHS, UNKNOWN_LENGTH

OPTIONS = ("k", "exclude", f"exclude{COUNT}")
"""Optional inputs of `retrieve` that are no columns."""
_OF_EXPORTS = ("examples", "transform_features")


@dataclass(frozen=True)
class Tensor:
    """What a signature says of one tensor.

    Args:
      dtype: NumPy's name, or `string`, `bfloat16`.
      shape: None stands for any size; a shape of None is any shape.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs by name.

    Args:
      inputs: to send.
      outputs: to receive.
      defaults: names of inputs that may be left out.
      default_values: of these, what a server takes for them.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    defaults: frozenset[str]
    default_values: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

    def lengths_of(self, name: str) -> str | None:
        """The input that holds the lengths of a list; None for an input that is no list, or has none."""
        return f"{name}{LENGTHS}" if f"{name}{LENGTHS}" in self.defaults else None

    def count_of(self, name: str) -> str | None:
        """The input that holds how many places of each row are no padding: of `candidate`, of `exclude`."""
        return f"{name}{COUNT}" if f"{name}{COUNT}" in self.defaults else None

    @cached_property
    def lengths(self) -> frozenset[str]:
        """The inputs that hold the lengths of lists."""
        return frozenset(one for name in self.inputs if (one := self.lengths_of(name)) is not None)

    @cached_property
    def counts(self) -> frozenset[str]:
        """The inputs that hold counts."""
        return frozenset(one for name in self.inputs if (one := self.count_of(name)) is not None)


def signatures_of(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """Signatures by name.

    Args:
      definitions: `signature_def` of a SignatureDefMap.
    """
    return {
        name: Signature(
            _tensors(definition.inputs),
            _tensors(definition.outputs),
            frozenset(definition.defaults),
            {alias: tensors.from_proto(proto) for alias, proto in definition.defaults.items()},
        )
        for name, definition in definitions.items()
    }


def is_export(signatures: Mapping[str, Signature]) -> bool:
    """True of models of `consort export`: the first dimension of each of their inputs is the batch."""
    return all(name in signatures for name in _OF_EXPORTS)


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """Returns a shape as text for messages."""
    return "any" if shape is None else "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    # A map of a message has no order of its own.
    return {name: _tensor(infos[name]) for name in sorted(infos)}


def _tensor(info: Any) -> Tensor:
    kind = tensors.KINDS.get(info.dtype)
    name = kind.name if kind else f"data type {info.dtype}"
    if info.tensor_shape.unknown_rank:
        return Tensor(name, None)
    return Tensor(name, tuple(dim.size if dim.size >= 0 else None for dim in info.tensor_shape.dim))


def prepared(inputs: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """Arrays to send, of the types of a signature of `consort export`.

    Numbers are widened (int32 to int64) and floats narrowed (float64 to float32); None becomes the missing marker;
    lists of unequal lengths are padded, and all lists get their lengths: see `padded_lists`. Where an input takes a
    fixed number of values, such as tags, fewer are filled up with the missing marker. What may be left out gets its
    default, and what has one value for all records is repeated for each: a server that joins requests to batches takes
    nothing else, and pads no empty input, so that there is one place at least of lists and candidates.

    Args:
      inputs: by name: arrays, or nested lists.
      signature: which has them. Inputs that it does not know stay as they are, for the server to name.

    Raises:
      ServingError: INVALID_ARGUMENT: an input of another type, rank or batch size; the message names it.
      ValueError: values that no tensor holds.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, values in inputs.items():
        tensor = signature.inputs.get(name)
        try:
            if tensor is None:
                arrays[name] = tensors.as_array(values)
                continue
            lengths = signature.lengths_of(name)
            if lengths is not None and tensor.dtype in MISSING:
                array, found_lengths = padded_lists(values, tensor.dtype)
                arrays.setdefault(lengths, found_lengths)
            elif width_of(tensor) is not None and getattr(values, "shape", ())[-1:] != (width_of(tensor),):
                array = _array(padded_values(values, tensor), tensor.dtype)
            else:
                array = _array(values, tensor.dtype)
        except ValueError as error:
            raise ValueError(f"input {name!r}: {error}") from None
        arrays[name] = _as_declared(name, array, tensor)
    for name in arrays.keys() & signature.inputs.keys():
        if (count := signature.count_of(name)) is not None and count not in arrays:
            arrays[count] = np.full(len(arrays[name]), arrays[name].shape[1])
    return _places(_of_one_batch(_complete(arrays, signature), signature, set(inputs)), signature)


def cut(outputs: dict[str, np.ndarray], inputs: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """Returns an answer without what a server has added that pads requests to join them.

    Args:
      outputs: of the server.
      inputs: as `prepared`.
      signature: that answered.
    """
    if (count := signature.count_of(CANDIDATE)) is not None and CANDIDATE in inputs:
        counts: Any = inputs.get(count)
        is_known = counts is not None and np.min(counts, initial=0) >= 0
        longest = int(np.max(counts, initial=0)) if is_known else np.shape(inputs[CANDIDATE])[1]
    elif "k" in signature.inputs and "item_id" in signature.outputs and "k" in inputs:
        longest = int(np.max(inputs["k"], initial=0))
    else:
        return outputs
    return {name: values[:, :longest] if values.ndim > 1 else values for name, values in outputs.items()}


def width_of(tensor: Tensor) -> int | None:
    """Returns W of an input that takes several values in each place, `[..., W]`; None for any other."""
    is_several = tensor.dtype in MISSING and tensor.shape is not None and len(tensor.shape) > 1
    return tensor.shape[-1] if is_several and tensor.shape is not None else None


def padded_values(values: Any, tensor: Tensor) -> Any:
    """Fills the innermost lists of an input with `width_of` up with None at the end.

    Args:
      values: nested lists or an array.
      tensor: of the input.

    Raises:
      ValueError: a list has more than W values.
    """
    width, depth = width_of(tensor) or 0, len(tensor.shape or ()) - 1

    def filled(one: Any, depth: int) -> Any:
        if not isinstance(one, list | tuple):
            return one
        if depth:
            return [filled(part, depth - 1) for part in one]
        if len(one) > width:
            raise ValueError(f"received {len(one)} values; expected at most {width}; leave some out")
        return [*one, *[None] * (width - len(one))]

    return filled(values.tolist() if hasattr(values, "tolist") else values, depth)


def fill(protos: Any, inputs: Mapping[str, Any]) -> None:
    """Writes inputs into those of a request.

    Args:
      protos: `inputs` of a PredictRequest; its content is replaced.
      inputs: arrays or nested lists.

    Raises:
      ValueError: an input cannot be a tensor; the message names it.
    """
    protos.clear()
    for name, values in inputs.items():
        try:
            tensors.to_proto(values, protos[name])
        except ValueError as error:
            raise ValueError(f"input {name!r}: {error}") from None


def number_of_items(k: Any) -> np.ndarray:
    """Returns the input `k` of a request.

    Raises:
      ValueError: it is no integer that an int32 holds.
    """
    limits = np.iinfo(np.int32)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not limits.min <= k <= limits.max:
        raise ValueError(f"k: received {k!r}; expected a whole number of items, 1 to {limits.max}")
    return np.asarray(k, np.int32)


def check_message(details: str) -> str:
    """Returns the message of a check in a served graph without the graph's nodes; other details as they are."""
    text = re.sub(r"\s*\[\[\{\{.*", "", details, flags=re.DOTALL)
    assertion = re.search(r"assertion failed: \[(.*)\]\s*$", text, re.DOTALL)
    return assertion[1] if assertion else details


def _array(values: Any, dtype: str) -> np.ndarray:
    if dtype in MISSING and not (isinstance(values, np.ndarray) and values.dtype != object):
        listed = values.tolist() if hasattr(values, "tolist") else values
        if _has_none(listed):
            return tensors.as_array(_without_none(listed, MISSING[dtype]))
    return tensors.as_array(values)


def _has_none(values: Any) -> bool:
    if not isinstance(values, list | tuple):
        return values is None
    # By kind, since a comparison of each value would take longer than the rest of a large request.
    kinds = set(map(type, values))
    return type(None) in kinds or (
        any(issubclass(kind, list | tuple) for kind in kinds) and any(map(_has_none, values))
    )


def _without_none(values: Any, marker: Any) -> Any:
    if isinstance(values, list | tuple):
        return [_without_none(one, marker) for one in values]
    return marker if values is None else values


def _as_declared(name: str, array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Returns the array in the signature's type; only the width of its numbers may differ."""
    if tensor.shape is not None and (
        len(tensor.shape) != array.ndim or any(size not in (None, n) for size, n in zip(tensor.shape, array.shape))
    ):
        raise _refused(name, array, tensor, "nest the lists so")
    dtype = "string" if array.dtype == object else array.dtype.name
    if dtype == tensor.dtype:
        return array
    if not array.size:
        return array.astype(object if tensor.dtype == "string" else tensor.dtype)
    if array.dtype.kind in "iu" and tensor.dtype in ("int32", "int64"):
        limits = np.iinfo(tensor.dtype)
        if limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(tensor.dtype)
    elif array.dtype.kind in "iuf" and tensor.dtype in ("float32", "float64"):
        return array.astype(tensor.dtype)
    raise _refused(name, array, tensor, "convert the values")


def _refused(name: str, array: np.ndarray, tensor: Tensor, fix: str) -> ServingError:
    dtype = "string" if array.dtype == object else array.dtype.name
    received = f"received {dtype} values of shape {list(array.shape)}"
    expected = f"expected {tensor.dtype} values of shape {shape_text(tensor.shape)}"
    return ServingError("INVALID_ARGUMENT", f"input {name}: {received}; {expected}; {fix}")


def _complete(arrays: Mapping[str, np.ndarray], signature: Signature) -> dict[str, np.ndarray]:
    """Returns the inputs with the defaults of those that were left out."""
    complete = dict(arrays)
    for name, value in signature.default_values.items():
        shape = signature.inputs[name].shape
        if name not in arrays and (shape is None or len(shape) == value.ndim):
            complete[name] = value
            if value.ndim and not len(value):
                marker = 0 if name in signature.lengths else MISSING.get(signature.inputs[name].dtype, 0)
                sizes = [1, *(max(1, size) for size in value.shape[1:])]
                if len(sizes) > 1 and CANDIDATE in arrays and not value.shape[1] and not signature.lengths_of(name):
                    sizes[1] = arrays[CANDIDATE].shape[1]
                complete[name] = np.full(sizes, marker, value.dtype)
    return complete


def _places(arrays: dict[str, np.ndarray], signature: Signature) -> dict[str, np.ndarray]:
    """Returns the inputs with one place at least in each row; counts and lengths say that it is padding."""
    for name, array in arrays.items():
        counted = signature.lengths_of(name) or signature.count_of(name) or signature.count_of(CANDIDATE)
        tensor = signature.inputs.get(name)
        if counted and tensor is not None and array.ndim > 1 and not array.shape[1] and tensor.dtype in MISSING:
            marker = 0 if name == CANDIDATE else MISSING[tensor.dtype]
            arrays[name] = np.full([len(array), 1, *array.shape[2:]], marker, array.dtype)
    return arrays


def _of_one_batch(arrays: Mapping[str, np.ndarray], signature: Signature, sent: Set[str]) -> dict[str, np.ndarray]:
    for_all = {name for name, array in arrays.items() if _for_all(name, array, signature, name in sent)}
    sizes = {name: len(array) for name, array in arrays.items() if array.ndim and name in signature.inputs}
    columns = {name: size for name, size in sizes.items() if name in sent - for_all}
    of_columns = {name: size for name, size in columns.items() if not is_option(name, signature)}
    counted = Counter((of_columns or columns).values())
    if not counted:
        return dict(arrays)
    batch, _ = counted.most_common(1)[0]
    if other := {name: size for name, size in columns.items() if size != batch}:
        names, received = ", ".join(other), ", ".join(map(str, other.values()))
        expected = f"expected {batch}, that of the other inputs; give each record a value in every input"
        raise ServingError("INVALID_ARGUMENT", f"input {names}: received batch size {received}; {expected}")
    result = dict(arrays)
    for name in for_all:
        array = arrays[name].reshape([1, *arrays[name].shape[1:]])
        result[name] = np.repeat(array, batch, axis=0)
    return result


def _for_all(name: str, array: np.ndarray, signature: Signature, is_sent: bool) -> bool:
    """Returns True if an optional input has one value for all records where the signature takes one for each.

    Of a column only its default has.
    """
    if name not in signature.defaults or signature.inputs[name].shape == () or (array.ndim and len(array) != 1):
        return False
    if not is_sent:
        return True
    if name in signature.lengths:
        return array.ndim == 1 and int(array[0]) == UNKNOWN_LENGTH
    return is_option(name, signature)


def is_option(name: str, signature: Signature) -> bool:
    """True of an optional input that is no column, which is what a signature without values for defaults has alone."""
    if name not in signature.defaults or name in OPTIONS or name not in signature.default_values:
        return name in signature.defaults
    return name in signature.lengths or name in signature.counts
