"""Checks of a layer's arguments, and the seeds of its parts."""

import numbers
import zlib
from collections.abc import Sequence

from transforms.import_path import nearest


def checked_choice(argument: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`.

    Raises:
      ValueError: it is not; the message gives all of them, and the nearest one.
    """
    if value in choices:
        return value
    raise ValueError(f"{argument} is {value!r}; expected one of {', '.join(choices)}; {nearest(value, choices)}")


def checked_count(argument: str, value: int) -> int:
    """`value`, if it is a whole number of at least 1.

    Raises:
      ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{argument} is {value!r}; expected a whole number of at least 1; correct it")
    return int(value)


def derived_seed(seed: int, part: str) -> int:
    """Derives a seed for a named part of a layer or model from its seed.

    Sums such as `seed + depth` would give one layer of a model the start of another layer of a
    model with a neighbouring seed.
    """
    return zlib.crc32(f"{seed}/{part}".encode()) & 0x7FFFFFFF
