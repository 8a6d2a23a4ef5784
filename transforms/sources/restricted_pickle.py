"""Pickles of plain data: NumPy arrays and Python's containers, and nothing that can run code."""

import collections
import math
import os
import pickle
import re
from typing import Any

import numpy as np

from transforms.errors import InputError

_PLAIN_TYPE = re.compile(r"[biufcSU][1-9][0-9]{0,5}")
_MOST_AXES = 32


class PickledType:
    """Stands for a `numpy.dtype` that a file declares: looked at only when data come with it.

    Args:
      code: kind and size in bytes or characters, e.g. `i8`.
    """

    __slots__ = ("_code", "_state")

    def __init__(self, code: object):
        self._code, self._state = code, ("<", None, None, None)

    def __setstate__(self, state: Any) -> None:
        self._state = state[1:5]

    def dtype(self) -> np.dtype:
        """The type.

        Raises:
          UnpicklingError: it is anything but a number, a truth value, bytes or text.
        """
        code = self._code.decode("ascii") if isinstance(self._code, bytes) else self._code
        order, *parts = self._state
        plain = isinstance(code, str) and _PLAIN_TYPE.fullmatch(code) and parts == [None, None, None]
        if not plain or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"an array of type {code!r}")
        return np.dtype(f"{order}{code}")


class PickledArray(np.ndarray):
    """An array whose content follows in the file; made by `EmptyArray` alone."""

    def __setstate__(self, state: Any, /) -> None:
        # Filled once: filling it again would free memory that rows taken from it still use.
        if self.__dict__.pop("is_unfilled", None) is None:
            raise pickle.UnpicklingError("an array that is filled twice")
        _, shape, kind, is_fortran, data = state
        dtype = checked_dtype(kind, shape, data)
        super().__setstate__((1, shape, dtype, bool(is_fortran), bytes(data)))


class TypeOf:
    """Stands for the class `numpy.dtype`."""

    __slots__ = ()

    def __call__(self, code: object, align: object = False, copy: object = False) -> PickledType:
        return PickledType(code)


class EmptyArray:
    """Stands for `_reconstruct`: an array that waits for its content."""

    __slots__ = ()

    def __call__(self, _: object, shape: object, code: object) -> PickledArray:
        if shape != (0,) or code not in (b"b", "b"):
            raise pickle.UnpicklingError(f"an array that begins with shape {shape} and type {code!r}")
        array = np.empty(0, np.int8).view(PickledArray)
        array.__dict__["is_unfilled"] = True
        return array


class Scalar:
    """Stands for `scalar`: one number or text."""

    __slots__ = ()

    def __call__(self, kind: object, data: object) -> Any:
        data = data.encode("latin1") if isinstance(data, str) else data
        dtype = checked_dtype(kind, (), data)
        return np.frombuffer(data, dtype)[0]  # type: ignore[call-overload]


class FromBuffer:
    """Stands for `_frombuffer`, by which pickles of protocol 5 write arrays."""

    __slots__ = ()

    def __call__(self, data: object, kind: object, shape: object, order: object) -> np.ndarray:
        dtype = checked_dtype(kind, shape, data)
        if order not in ("C", "F"):
            raise pickle.UnpicklingError(f"an array in the order {order!r}")
        return np.frombuffer(data, dtype).reshape(shape, order=order).copy()  # type: ignore[call-overload]


def checked_dtype(kind: object, shape: object, data: object) -> np.dtype:
    """The type of an array of this shape whose content are these bytes.

    Raises:
      UnpicklingError: they do not fit together, or the type is not plain.
    """
    if not isinstance(kind, PickledType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError(f"an array of {type(kind).__name__} from {type(data).__name__}")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape!r}")
    dtype = kind.dtype()
    if len(shape) > _MOST_AXES or math.prod(shape) * dtype.itemsize != len(data):
        raise pickle.UnpicklingError(f"{len(data)} bytes for an array of {dtype} and shape {shape}")
    if dtype.kind == "b" and data and max(data) > 1:
        raise pickle.UnpicklingError("a truth value that is neither 0 nor 1")
    return dtype


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
      InputError: there is no such file, it names anything else (the name is reported), or it is damaged.
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
