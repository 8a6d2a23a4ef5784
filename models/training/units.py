"""What a bootstrap draws: users, requests or rows, with everything that belongs to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Resample = Literal["user", "request", "row"]
RESAMPLES: tuple[Resample, ...] = get_args(Resample)
"""From large to small: what lacks an id of one kind is drawn as the next."""


@dataclass(frozen=True)
class Units:
    """What is drawn together.

    Args:
      index: of each row's unit, from 0 without gaps, `[n]`.
      kinds: how many units there are of each kind.
    """

    index: np.ndarray
    kinds: Mapping[Resample, int]

    def __len__(self) -> int:
        return sum(self.kinds.values())

    def told(self) -> dict[str, float]:
        """`resampled_users`, `resampled_requests` and `resampled_rows`: how many of each that there are."""
        return {f"resampled_{kind}s": float(count) for kind, count in self.kinds.items() if count}


def units_of(
    size: int,
    groups: Mapping[Resample, np.ndarray],
    resample: Resample | None = None,
    smallest: Resample = "row",
) -> Units:
    """The units of some rows: users, as all that one user did is alike, wherever users are known.

    A row without an id of the chosen kind is drawn with its request, and without that alone.

    Args:
      size: rows, n.
      groups: index of each row's user and request, from 0 without gaps, -1 = missing, `[n]` each.
      resample: the kind; None: the largest that has ids.
      smallest: what a single row is.

    Raises:
      ValueError: no such kind, or no row has an id of it.
    """
    allowed = RESAMPLES[: RESAMPLES.index(smallest) + 1]
    if resample is not None and resample not in allowed:
        raise ValueError(f"resample is {resample!r}; expected {' or '.join(allowed)}; choose one of these")
    if resample is not None and resample != smallest and not (groups.get(resample, _NONE) >= 0).any():
        fix = f"give the ids, or resample {' or '.join(allowed[allowed.index(resample) + 1 :])}"
        raise ValueError(f"resample is {resample!r} and there is no {resample} id; expected some; {fix}")
    index, taken, kinds = np.full(size, -1), 0, dict.fromkeys(allowed, 0)
    for kind in allowed if resample is None else allowed[allowed.index(resample) :]:
        group = np.arange(size) if kind == smallest else groups.get(kind, np.full(size, -1))
        left = (index < 0) & (group >= 0)
        _, numbers = np.unique(group[left], return_inverse=True)
        kinds[kind] = int(numbers.max(initial=-1)) + 1
        index[left] = taken + numbers
        taken += kinds[kind]
    return Units(index, kinds)


_NONE = np.empty(0, np.int64)


def without_id(kind: str, of: str, group: np.ndarray | None) -> dict[str, float]:
    """How many rows a metric by some id leaves out, as `<of>_without_<kind>`; nothing if none or all lack it."""
    missing = 0 if group is None else int((group < 0).sum())
    return {f"{of}_without_{kind}": float(missing)} if group is not None and 0 < missing < len(group) else {}
