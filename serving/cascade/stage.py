"""What a stage sends, what it makes of the answer, and when it is left out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.cascade.items import columns_of, missing_values
from serving.client import Signature
from serving.client.inputs import OPTIONS, is_option
from serving.client.lists import MISSING
from serving.retrieval.item_table import ItemTable
from transforms.errors import InputError
from transforms.features import CANDIDATE, ITEM_ID


@dataclass(frozen=True)
class Users:
    """The users of a call.

    Args:
      columns: raw columns `[B]`, lists `[B, N]`.
      count: B.
    """

    columns: Mapping[str, Any]
    count: int

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> "Users":
        """Returns the users of columns.

        Raises:
          InputError: no column, one that is no list of values, or columns of unlike numbers of users.
        """
        sizes = {}
        for name, values in columns.items():
            if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
                fix = "give a list with a value for each user, also for one"
                raise InputError(f"user, column {name!r}", repr(values), "a list of values", fix)
            sizes[name] = len(values)
        if len(set(sizes.values())) != 1:
            received = ", ".join(f"{size} values of {name}" for name, size in sizes.items()) or "no columns"
            raise InputError("user", received, "one number of values in all columns", "give each user a value in each")
        return cls(columns, next(iter(sizes.values())))

    def one(self, place: int) -> Mapping[str, Any]:
        """Returns the columns of one user, `[1]` and `[1, N]`."""
        return {name: values[place : place + 1] for name, values in self.columns.items()}


@dataclass(frozen=True)
class Candidates:
    """What a filter decides on.

    Args:
      user: raw columns of the user, `[1]` and `[1, N]`.
      item_ids: `[n]`, best first.
      scores: `[n]`; NaN where the stage gave none.
      columns: raw columns of the items, `[n]` or `[n, W]`; missing values where no table has the item.
    """

    user: Mapping[str, Any]
    item_ids: np.ndarray
    scores: np.ndarray
    columns: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StageAnswer:
    """What a stage passed on.

    Args:
      stage: its name.
      model, server: that were called.
      version: that answered; None if none did.
      item_ids: `[n]`, best first; at most `keep`.
      scores: of this stage, after a fallback those of the stage before; NaN for items without one.
      milliseconds: that the stage took, the client's work and filters included; of a batch of users, all of them.
      fallback: why the order is that of the stage before; empty if the stage answered.
      unscored: items whose score was NaN or infinite; they come last, in the order of the stage before; retrieval
        leaves them out.
      unknown_items: items that the item table lacks; they were scored with missing columns.
      missing_columns: inputs that neither the user nor the item table has; they were scored as missing.
    """

    stage: str
    model: str
    server: str
    version: int | None
    item_ids: np.ndarray
    scores: np.ndarray
    milliseconds: float
    fallback: str = ""
    unscored: int = 0
    unknown_items: int = 0
    missing_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sent:
    """The inputs of a request, and what they lack."""

    inputs: dict[str, Any]
    unknown_items: int = 0
    missing_columns: tuple[str, ...] = ()


def user_inputs(users: Users, signature: Signature, stage: str) -> Sent:
    """Returns the columns that a stage without items reads; optional ones where the users have them.

    Raises:
      InputError: a column is missing that the model requires.
    """
    names = [name for name in signature.inputs if name not in OPTIONS]
    missing = [name for name in names if name not in users.columns]
    if required := [name for name in missing if name not in signature.defaults]:
        received = ", ".join(users.columns) or "nothing"
        raise InputError(f"user, for {stage}", received, f"also {', '.join(required)}", "add these columns")
    inputs = {name: users.columns[name] for name in names if name in users.columns}
    return Sent(inputs, 0, tuple(name for name in missing if not is_option(name, signature)))


def scoring_inputs(
    users: Users, signature: Signature, lists: Sequence[np.ndarray], table: ItemTable | None, stage: str
) -> Sent:
    """Returns the inputs that score the candidates of all users in one request.

    A model with the mask `candidate` gets a record for each user, any other one for each candidate.

    Args:
      users: B of them.
      signature: of the version that is called.
      lists: ids of the candidates of each user.
      table: with the columns of the candidates.
      stage: for messages.

    Raises:
      InputError: an input that must be sent is no column that could be missing.
    """
    names, counts, flat = signature.inputs, [len(ids) for ids in lists], np.concatenate(lists)
    columns, unknown = columns_of(table, flat, names.keys() - {ITEM_ID})
    if ITEM_ID in names:
        columns[ITEM_ID] = flat
    is_set, width = CANDIDATE in names, max(counts)
    inputs: dict[str, Any] = {}
    missing = []
    for name, tensor in names.items():
        if name == CANDIDATE:
            inputs[name] = (np.arange(width) < np.array(counts)[:, np.newaxis]).astype(np.int64)
        elif name in columns:
            inputs[name] = _padded(columns[name], counts, width, tensor.dtype) if is_set else columns[name]
        elif name in users.columns:
            inputs[name] = users.columns[name] if is_set else _repeated(users.columns[name], counts)
        elif not is_option(name, signature):
            missing.append(name)
            if name in signature.defaults:
                continue
            if tensor.dtype not in MISSING or not tensor.shape:
                fix = "add it to the user's columns"
                raise InputError(f"user, for {stage}", ", ".join(users.columns), f"also {name}", fix)
            of_items = width if is_set and signature.lengths_of(name) is None else 0
            rest = [of_items if size is None else size for size in tensor.shape[1:]]
            inputs[name] = missing_values(tensor.dtype, [len(lists) if is_set else len(flat), *rest])
    return Sent(inputs, unknown, tuple(missing))


def split_scores(scores: np.ndarray, counts: Sequence[int], is_set: bool) -> list[np.ndarray]:
    """Returns the scores of each user's candidates.

    Args:
      scores: `[B, M]` of a model that reads sets, M at least the largest count; of others one for each candidate.
      counts: candidates of each user.
      is_set: True for a model that reads sets.

    Raises:
      ValueError: scores of another shape.
    """
    if is_set:
        if scores.ndim < 2 or len(scores) != len(counts) or scores.shape[1] < max(counts):
            expected = f"[{len(counts)}, {max(counts)}]"
            raise ValueError(f"scores: received shape {list(scores.shape)}; expected {expected}; check `score`")
        return [row.reshape(len(row), -1)[:count, 0] for row, count in zip(scores, counts)]
    if scores.size != sum(counts):
        raise ValueError(f"scores: received {scores.size}; expected {sum(counts)}, one each item; check `score`")
    return np.split(scores.reshape(-1), np.cumsum(counts)[:-1])


def best_first(scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns the order of items, best first, and the number of those without a finite score, which are last.

    Equal ones keep the order that they have.
    """
    bad = ~np.isfinite(scores)
    return np.argsort(np.where(bad, np.inf, -scores), kind="stable"), int(bad.sum())


def in_order(before: StageAnswer, version: int, scores: np.ndarray, sent: Sent, table: ItemTable | None) -> StageAnswer:
    """Returns a stage's answer in the order of its scores; in the order before where it has none.

    Args:
      before: the stage's answer in the order of the one before.
      version: that answered.
      scores: `[n]`.
      sent: what the stage was asked with.
      table: of the items.
    """
    if not len(scores):
        return replace(before, version=version)
    order, unscored = best_first(scores)
    if unscored == len(scores):
        return replace(
            before, version=version, fallback=f"all {unscored} scores are NaN or infinite", unscored=unscored
        )
    known = np.where(np.isfinite(scores), scores, np.nan)
    unknown = int((table.places(before.item_ids) < 0).sum()) if sent.unknown_items and table is not None else 0
    return replace(
        before, version=version, item_ids=before.item_ids[order], scores=known[order], unscored=unscored,
        unknown_items=unknown, missing_columns=sent.missing_columns,
    )  # fmt: skip


def ids_in(values: Sequence[Any] | np.ndarray) -> set[Any]:
    """Returns ids as servers have them; without missing markers."""
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return {one.encode() if isinstance(one, str) else one for one in listed} - {b"", -1, None}


class Pause:
    """Leaves a stage out after failed calls in a row, so that a lost server does not cost each call its deadline.

    After a pause one call is let through. The first pause is an eighth of the longest, so that a short hitch costs
    little; each failure doubles it.

    Args:
      failures: number of failed calls in a row before the first pause.
      seconds: longest pause.
    """

    def __init__(self, failures: int, seconds: float):
        self._limit, self._longest = failures, seconds
        self._failed, self._until, self._pause, self._last = 0, 0.0, seconds / 8, ""

    def reason(self) -> str:
        """Returns why the stage is to be left out of a call; empty: it is to be called."""
        now = time.monotonic()
        if self._failed < self._limit:
            return ""
        if now < self._until:
            return f"paused after {self._failed} failed calls; last: {self._last}"
        # This call is the one that is let through.
        self._pause = min(2 * self._pause, self._longest)
        self._until = now + self._pause
        return ""

    def failed(self, reason: str) -> None:
        """Counts a failed call."""
        self._failed, self._last = self._failed + 1, reason
        if self._failed == self._limit:
            self._until = time.monotonic() + self._pause

    def succeeded(self) -> None:
        """Forgets failed calls."""
        self._failed, self._pause = 0, self._longest / 8


def _padded(values: np.ndarray, counts: Sequence[int], width: int, dtype: str) -> np.ndarray:
    """Returns the values of all candidates as `[B, M, ...]`."""
    if len(counts) == 1:
        return values[np.newaxis]
    result = missing_values(dtype, [len(counts), width, *values.shape[1:]])
    start = 0
    for row, count in zip(result, counts):
        row[:count] = values[start : start + count]
        start += count
    return result


def _repeated(values: Any, counts: Sequence[int]) -> Any:
    """Returns each user's value once for each of the user's candidates."""
    if isinstance(values, np.ndarray):
        return np.repeat(values, counts, axis=0)
    return [value for value, count in zip(values, counts) for _ in range(count)]
