"""Stand-ins for what NumPy's pickles name: they make arrays of numbers and text, checked, and nothing else.

NumPy's own functions trust the file. A pickle may declare a type of Python objects and take away the flag that says so;
NumPy then follows addresses that stand in the file, which is as good as running it. Here a type is a letter and a size
that NumPy is asked about afresh, and an array takes its content once, as bytes of the right number.

The file can call and change whatever it can name. So what it can name has no attributes to change (`__slots__`).
"""

import math
import pickle
import re
from typing import Any

import numpy as np

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
