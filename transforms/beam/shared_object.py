"""An object that the threads of a worker process share."""

from collections.abc import Callable
from typing import Generic, TypeVar

from apache_beam.utils import shared

_T = TypeVar("_T")


class SharedObject(Generic[_T]):
    """Made once in each process, for a DoFn to keep in `__init__` and to release in `teardown`."""

    def __init__(self) -> None:
        self._handle = shared.Shared()

    def get(self, make: Callable[[], _T]) -> _T:
        """Returns the object, made if it is not there."""
        result: _T = self._handle.acquire(make)
        return result

    def release(self) -> None:
        """Lets it go; the next `get` makes another.

        Beam keeps what was acquired last until Python ends, where TensorFlow no longer frees a model in peace.
        """
        self._handle.acquire(_Nothing, tag="nothing")


class _Nothing:
    """Takes the object's place."""
