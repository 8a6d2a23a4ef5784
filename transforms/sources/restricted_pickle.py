"""Pickles of plain data: NumPy arrays and Python's containers, and nothing that can run code."""

import collections
import os
import pickle
from typing import Any

import numpy as np

from transforms.errors import InputError
from transforms.sources.pickled_arrays import EmptyArray, FromBuffer, Scalar, TypeOf


class _Encode:
    """Stands for `_codecs.encode`, by which pickles of protocol 2 and below write bytes."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
        return text.encode("latin1")


class _Bytes:
    """Stands for `bytes`, which would make as many of them as a number says."""

    __slots__ = ()

    def __call__(self, content: bytes = b"") -> bytes:
        if not isinstance(content, bytes):
            raise pickle.UnpicklingError(f"bytes of {type(content).__name__}")
        return content


class _ByteArray:
    """Stands for `bytearray`, for the same reason."""

    __slots__ = ()

    def __call__(self, content: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
        if isinstance(content, str) and encoding == "latin-1":
            content = content.encode("latin-1")
        if not isinstance(content, bytes):
            raise pickle.UnpicklingError(f"bytes of {type(content).__name__}")
        return bytearray(content)


_NDARRAY = object()
"""Stands for the class: a file may name it as `_reconstruct`'s argument, and cannot call it."""

# NumPy 2 writes numpy._core where NumPy 1 writes numpy.core.
_NUMPY: dict[tuple[str, str], Any] = {
    (f"numpy.{core}.{module}", name): stand_in
    for core in ("core", "_core")
    for module, name, stand_in in (
        ("multiarray", "_reconstruct", EmptyArray()),
        ("multiarray", "scalar", Scalar()),
        ("numeric", "_frombuffer", FromBuffer()),
    )
}
_PLAIN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): TypeOf(),
    ("_codecs", "encode"): _Encode(),
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
}
_STAND_INS: dict[str, Any] = {"bytes": _Bytes(), "bytearray": _ByteArray()}
_KINDS: tuple[type, ...] = (dict, list, tuple, set, frozenset, bytearray, bytes, str, int, float, complex, bool)
# Python 2 called the module of built-in names __builtin__.
_CONTAINERS: dict[tuple[str, str], Any] = {
    (module, kind.__name__): _STAND_INS.get(kind.__name__, kind)
    for module in ("builtins", "__builtin__")
    for kind in _KINDS
}
ALLOWED: dict[tuple[str, str], Any] = _NUMPY | _PLAIN | _CONTAINERS
"""What a pickle may name, by module and name; none of them runs anything that the file brings, and a file can change
the attributes of none of them."""

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
    up in `ALLOWED` and never imports anything. A hostile file may still ask for more memory or time than
    there is.

    Args:
      path: the file.
      expected: what it should hold, for messages.

    Raises:
      InputError: there is no such file, it names anything else (the name is told), or it is damaged.
    """
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file).load()
    except FileNotFoundError as error:
        raise InputError(str(path), "no such file", f"a pickle of {expected}", "get the file") from error
    except _Refused as error:
        allowed = f"a pickle of {expected}: NumPy arrays and built-in containers alone"
        fix = "do not open this file with a plain pickle loader: loading it can run code; get it from its publisher"
        raise InputError(str(path), f"a pickle that names {error}", allowed, fix) from error
    except _DAMAGED as error:
        received = f"a damaged pickle ({type(error).__name__}: {error})"
        raise InputError(str(path), received, f"a pickle of {expected}", "get the file again") from error
    return content.view(np.ndarray) if isinstance(content, np.ndarray) else content
