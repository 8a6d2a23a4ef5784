"""Pickles of plain data: NumPy arrays and Python's containers, and nothing that can run code."""

import collections
import os
import pickle
from typing import Any

import numpy as np
from numpy.core import multiarray, numeric

from transforms.errors import InputError


def _encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which pickles of protocol 2 and below write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_NDARRAY = object()
"""Stands for the class: a file may name it as `_reconstruct`'s argument, and cannot call it."""


def _empty_array(_: object, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    """Stands for `_reconstruct`: the array whose state, checked by NumPy, follows in the file."""
    if shape != (0,) or typecode not in (b"b", "b"):
        raise pickle.UnpicklingError(f"an array that begins with shape {shape} and type {typecode!r}")
    return np.empty(shape, np.int8)


# NumPy 2 writes numpy._core where NumPy 1 writes numpy.core.
_NUMPY: dict[tuple[str, str], Any] = {
    (f"numpy.{core}.{module}", name): found
    for core in ("core", "_core")
    for module, name, found in (
        ("multiarray", "_reconstruct", _empty_array),
        ("multiarray", "scalar", multiarray.scalar),  # type: ignore[attr-defined]
        ("numeric", "_frombuffer", numeric._frombuffer),  # type: ignore[attr-defined]
    )
}
_PLAIN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
}
# Python 2 called the module of built-in names __builtin__.
_CONTAINERS: dict[tuple[str, str], Any] = {
    (module, kind.__name__): kind
    for module in ("builtins", "__builtin__")
    for kind in (dict, list, tuple, set, frozenset, bytearray, bytes, str, int, float, complex, bool)
}
ALLOWED: dict[tuple[str, str], Any] = _NUMPY | _PLAIN | _CONTAINERS
"""What a pickle may name, by module and name; none of them runs anything that the file brings."""


# A damaged pickle can raise nearly anything that NumPy's constructors raise.
_DAMAGED = (
    *(pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError),
    *(OSError, RuntimeError, SyntaxError, SystemError, TypeError, ValueError),
)


class _Refused(pickle.UnpicklingError):
    pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def load_plain(path: str | os.PathLike[str], expected: str = "arrays by key") -> Any:
    """Reads a pickle that holds NumPy arrays, numbers, text and Python's containers.

    A pickle is a program: the plain loader runs whatever function it names. This one looks every name
    up in `ALLOWED` and never imports anything.

    Args:
      path: the file.
      expected: what it should hold, for messages.

    Raises:
      InputError: there is no such file, it names anything else (the name is told), or it is damaged.
    """
    try:
        with open(path, "rb") as file:
            return _Unpickler(file).load()
    except FileNotFoundError as error:
        raise InputError(str(path), "no such file", f"a pickle of {expected}", "get the file") from error
    except _Refused as error:
        allowed = f"a pickle of {expected}: NumPy arrays and built-in containers alone"
        fix = "do not open this file with a plain pickle loader: loading it can run code; get it from its publisher"
        raise InputError(str(path), f"a pickle that names {error}", allowed, fix) from error
    except _DAMAGED as error:
        received = f"a damaged pickle ({type(error).__name__}: {error})"
        raise InputError(str(path), received, f"a pickle of {expected}", "get the file again") from error
