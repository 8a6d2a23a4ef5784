"""What a server says of a model's signatures, without TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving import tensors
from transforms.features import LENGTHS

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
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    defaults: frozenset[str]

    def lengths_of(self, name: str) -> str | None:
        """The input that holds the lengths of a list; None for an input that is no list, or has none."""
        return f"{name}{LENGTHS}" if f"{name}{LENGTHS}" in self.defaults else None


def signatures_of(definitions: Mapping[str, Any]) -> dict[str, Signature]:
    """Signatures by name.

    Args:
      definitions: `signature_def` of a SignatureDefMap.
    """
    return {
        name: Signature(_tensors(found.inputs), _tensors(found.outputs), frozenset(found.defaults))
        for name, found in definitions.items()
    }


def is_export(signatures: Mapping[str, Signature]) -> bool:
    """True of models of `consort export`: the first dimension of each of their inputs is the batch."""
    return all(name in signatures for name in _OF_EXPORTS)


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """As messages tell it."""
    return "any" if shape is None else "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: _tensor(info) for name, info in infos.items()}


def _tensor(info: Any) -> Tensor:
    kind = tensors.KINDS.get(info.dtype)
    name = kind.name if kind else f"data type {info.dtype}"
    if info.tensor_shape.unknown_rank:
        return Tensor(name, None)
    return Tensor(name, tuple(dim.size if dim.size >= 0 else None for dim in info.tensor_shape.dim))
