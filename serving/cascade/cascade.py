"""A cascade: retrieval finds items, and each later stage orders those that the one before passed on."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from serving.cascade.config import CascadeConfig, StageConfig, read_ids
from serving.cascade.items import ItemTables, PopularItems, columns_of
from serving.cascade.stage import (
    Candidates,
    Pause,
    Sent,
    StageAnswer,
    Users,
    ids_in,
    in_order,
    scoring_inputs,
    split_scores,
    user_inputs,
)
from serving.client import PredictClient, Retrieved, ServingError, Signature
from serving.client.inputs import OPTIONS
from serving.retrieval.item_table import ItemTable
from transforms.errors import InputError
from transforms.features import CANDIDATE

Filter = Callable[[Candidates], np.ndarray]
"""Returns a mask `[n]`: True for the items that may be shown."""
_LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED")
"""Codes that say something of a server, and nothing of a request."""
_LIMIT_OF_K = re.compile(r"k: received .*expected 1 to (\d+)")


@dataclass(frozen=True)
class CascadeAnswer:
    """The answer for one user.

    Args:
      item_ids: `[n]`, best first.
      scores: `[n]`, of the last stage that answered; NaN for items without one.
      stages: what each stage passed on, in their order.
      milliseconds: that the call took.
    """

    item_ids: np.ndarray
    scores: np.ndarray
    stages: tuple[StageAnswer, ...]
    milliseconds: float

    @property
    def fallbacks(self) -> dict[str, str]:
        """Why stages did not answer, by their name; empty if all did."""
        return {stage.stage: stage.fallback for stage in self.stages if stage.fallback}


@dataclass(frozen=True)
class _Passed:
    """What a stage passed on for each user."""

    answers: list[StageAnswer]
    table: ItemTable | None
    problem: str = ""
    """Why there is no table."""


class Cascade:
    """Calls the servers of all stages; usable from several threads and as a context manager.

    Args:
      config: the stages.
      filters: by name of a stage: business rules for the items that it returns, before the best are kept. An error of a
        filter ends the call: no item is shown that no filter has seen.
      clients: by address, to connect in another way, such as with TLS; they are not closed. Default: in the clear.

    Raises:
      InputError: a filter of no stage, or an unreadable `fallback`.
    """

    def __init__(
        self,
        config: CascadeConfig,
        filters: Mapping[str, Filter] | None = None,
        clients: Mapping[str, PredictClient] | None = None,
    ):
        titles = [stage.title for stage in config.stages]
        if unknown := [name for name in filters or {} if name not in titles]:
            raise InputError("filters", unknown[0], f"stages among {', '.join(titles)}", "name a stage")
        self.config, self._filters = config, dict(filters or {})
        addresses = dict.fromkeys(stage.server for stage in config.stages)
        timeout_s = config.timeout_ms / 1e3
        self._opened = {one: PredictClient(one, timeout_s) for one in addresses if one not in (clients or {})}
        self._clients: dict[str, PredictClient] = {**(clients or {}), **self._opened}
        self._tables = ItemTables(config.items)
        self._pauses = {title: Pause(config.failures, config.pause_ms / 1e3) for title in titles}
        self._popular = PopularItems(read_ids(config.fallback) if config.fallback else None)
        self._most_k: tuple[int, int] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Cascade":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the threads."""
        for client in self._opened.values():
            client.close()
        self._tables.close()
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def wait_ready(self, timeout_s: float = 60.0) -> dict[str, int]:
        """Waits until all models are AVAILABLE, signatures and item columns are read; returns the versions by stage.

        A cascade answers without it, by fallbacks where a server is not ready, and the first calls take longer.

        Raises:
          ServingError: a model is not AVAILABLE in time.
          InputError: the first stage's `folder` lacks the version that its server has, or its items.
        """
        deadline, versions = time.monotonic() + timeout_s, {}
        for stage in self.config.stages:
            client = self._clients[stage.server]
            versions[stage.title] = client.wait_available(stage.model, _left(deadline))
            client.prefetch(stage.model, timeout_s=_left(deadline), **_pin(stage))
        first = self.config.stages[0]
        if first.version is None and first.label is None:
            self._tables.of(versions[first.title], _left(deadline))
        return versions

    def user_signature(self) -> Signature:
        """Returns the inputs that the stages read of the user, as one signature, without later stages that are lost.

        Raises:
          ServingError: the server of the first stage does not report its signatures.
        """
        table = self._tables.newest(self.config.timeout_ms / 1e3)
        others = {CANDIDATE, *OPTIONS, *(table.columns if table else ())}
        inputs: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for place, stage in enumerate(self.config.stages):
            try:
                signatures = self._clients[stage.server].metadata(stage.model, **_pin(stage))
            except ServingError:
                if not place:
                    raise
                continue
            signature = signatures[stage.signature if place else "retrieve"]
            names = [name for name in signature.inputs if name not in others and name not in inputs]
            inputs |= {name: signature.inputs[name] for name in names}
            # What only later stages read may be left out.
            optional = [name for name in names if name in signature.defaults or place]
            defaults |= {name: signature.default_values.get(name, np.array([])) for name in optional}
        return Signature(inputs, {}, frozenset(defaults), defaults)

    def answer(self, user: Mapping[str, Any], exclude: Sequence[Any] = ()) -> CascadeAnswer:
        """Returns the items for one user.

        Args:
          user: raw columns of the user and the context: one value each, `[1]`, lists `[1, N]`, as arrays or lists.
          exclude: ids of further items to leave out, besides those in the columns `exclude` of the config.

        Raises:
          InputError: a column that the first stage requires is missing, or there are several users.
        """
        return self._answer(_one(user, self.config), [exclude], self._deadline())[0]

    def answer_many(
        self, users: Mapping[str, Any], exclude: Sequence[Sequence[Any]] | None = None
    ) -> list[CascadeAnswer]:
        """Returns the items for each of several users, by one call of each stage for all of them.

        Args:
          users: raw columns `[B]`, lists `[B, N]`.
          exclude: ids to leave out for each user.

        Raises:
          InputError: as `answer`, or another number of users in `exclude`.
        """
        batch = Users.of(users)
        if exclude is not None and len(exclude) != batch.count:
            received = f"lists for {len(exclude)} users"
            raise InputError("exclude", received, f"one for each of {batch.count}", "give each user a list")
        return self._answer(batch, exclude or [()] * batch.count, self._deadline())

    async def answer_async(self, user: Mapping[str, Any], exclude: Sequence[Any] = ()) -> CascadeAnswer:
        """Returns what `answer` does without blocking the event loop; waiting for a thread counts as time."""
        call = partial(self._answer, _one(user, self.config), [exclude], self._deadline())
        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(self.config.threads, "cascade")
        return (await asyncio.get_running_loop().run_in_executor(self._pool, call))[0]

    def _deadline(self) -> float:
        return time.monotonic() + self.config.timeout_ms / 1e3

    def _answer(self, users: Users, exclude: Sequence[Sequence[Any]], deadline: float) -> list[CascadeAnswer]:
        started = time.monotonic()
        first, *others = self.config.stages
        excluded = [
            ids_in([one for name in self.config.exclude if name in users.columns for one in users.columns[name][place]])
            | ids_in(more)
            for place, more in enumerate(exclude)
        ]
        passed = self._retrieve(first, users, excluded, deadline)
        stages = [passed.answers]
        for stage in others:
            stages.append(self._score(stage, users, stages[-1], passed, deadline))
        milliseconds = _since(started)
        return [
            CascadeAnswer(answers[-1].item_ids, answers[-1].scores, answers, milliseconds) for answers in zip(*stages)
        ]

    def _retrieve(self, stage: StageConfig, users: Users, excluded: Sequence[set[Any]], deadline: float) -> _Passed:
        started, most = time.monotonic(), stage.fetch or stage.keep
        end = min(deadline, started + stage.timeout_ms / 1e3)
        sent: list[Sent] = []

        def inputs(signature: Signature) -> Mapping[str, Any]:
            sent.append(user_inputs(users, signature, stage.title))
            return sent[-1].inputs

        answer, reason = self._called(stage, lambda: self._retrieved(stage, inputs, excluded, end), end)
        nothing = StageAnswer(stage.title, stage.model, stage.server, None, np.array([]), np.array([]), 0.0)
        answers: list[StageAnswer] = []
        if answer is not None:
            self._popular.note(answer.item_ids[np.isfinite(answer.scores)])
        for place, unwanted in enumerate(excluded):
            why, unscored, missing = reason, 0, sent[-1].missing_columns if sent and not reason else ()
            if answer is not None:
                ids, scores = answer.item_ids[place], answer.scores[place]
                # Minus infinity fills up where too few items were left; items whose score is NaN are left out.
                finite, unscored = np.isfinite(scores), int(np.isnan(scores).sum())
                if unscored and not finite.any():
                    why = f"all {len(scores)} scores are NaN"
                ids, scores = ids[finite], scores[finite]
            if answer is None or why:
                ids = self._popular.best(self._tables.newest(_left(deadline)))[: most + len(unwanted)]
                scores = np.full(len(ids), np.nan)
            allowed = np.array([one not in unwanted for one in ids.tolist()], bool)
            answers.append(
                replace(
                    nothing, item_ids=ids[allowed][:most], fallback=why, missing_columns=missing, unscored=unscored,
                    scores=scores[allowed][:most], version=answer.version if answer else None,
                )
            )  # fmt: skip
        table, problem = self._table(answer.version if answer else None, end)
        return _Passed(self._kept(stage, users, answers, table, started, deadline), table, problem)

    def _retrieved(self, stage: StageConfig, inputs: Any, excluded: Sequence[set[Any]], end: float) -> Retrieved:
        """Asks for as many items as the catalogue has, if it has fewer than the stage keeps."""
        client, pin, k = self._clients[stage.server], _pin(stage), stage.fetch or stage.keep
        most, limited = self._most_k or (-1, k)
        options: dict[str, Any] = {"exclude": [list(ids) for ids in excluded] if any(excluded) else None, **pin}
        try:
            answer = client.retrieve(stage.model, inputs, min(k, limited), timeout_s=_left(end), **options)
        except ServingError as error:
            limit = _LIMIT_OF_K.search(error.details)
            if limit is None:
                raise
            limited = int(limit[1])
            answer = client.retrieve(stage.model, inputs, min(k, limited), timeout_s=_left(end), **options)
            most = answer.version
        if (
            answer.item_ids.ndim != 2
            or answer.item_ids.shape != answer.scores.shape
            or len(answer.scores) != len(excluded)
        ):
            shapes = f"items of shape {list(answer.item_ids.shape)} and scores of shape {list(answer.scores.shape)}"
            raise ValueError(f"received {shapes}; expected both [{len(excluded)}, k]; name a two-tower model")
        # A version with another catalogue is asked for all of `keep` again.
        self._most_k = (most, limited) if limited < k and most == answer.version else None
        return answer

    def _table(self, version: int | None, deadline: float) -> tuple[ItemTable | None, str]:
        if version is None:
            table = self._tables.newest()
            return table, "" if table else f"no item columns in {self.config.items}"
        try:
            return self._tables.of(version, _left(deadline)), ""
        except InputError as error:
            return None, str(error)

    def _score(
        self, stage: StageConfig, users: Users, before: Sequence[StageAnswer], passed: _Passed, deadline: float
    ) -> list[StageAnswer]:
        started = time.monotonic()
        end = min(deadline, started + stage.timeout_ms / 1e3)
        lists = [answer.item_ids for answer in before]
        counts, sent, sets = [len(ids) for ids in lists], list[Sent](), list[bool]()

        def inputs(signature: Signature) -> Mapping[str, Any]:
            sets.append(CANDIDATE in signature.inputs)
            sent.append(scoring_inputs(users, signature, lists, passed.table, stage.title))
            return sent[-1].inputs

        def call() -> tuple[int, list[np.ndarray]]:
            # All outputs, as warm-up requests ask for: other ones are another graph, optimized at the first request.
            answer = self._clients[stage.server].predict(
                stage.model, inputs, stage.signature, timeout_s=_left(end), **_pin(stage)
            )
            if stage.score not in answer.outputs:
                names = ", ".join(answer.outputs)
                raise ValueError(f"received outputs {names}; expected {stage.score!r} among them; correct `score`")
            return answer.version, split_scores(answer.outputs[stage.score], counts, sets[-1])

        answer, reason = None, passed.problem
        if any(counts) and not reason:
            answer, reason = self._called(stage, call, end)
        answers = []
        for place, previous in enumerate(before):
            one = replace(
                previous, stage=stage.title, model=stage.model, server=stage.server, version=None, fallback=reason,
                unscored=0, unknown_items=0, missing_columns=(),
            )  # fmt: skip
            if answer is not None:
                one = in_order(one, answer[0], answer[1][place], sent[-1], passed.table)
            answers.append(one)
        return self._kept(stage, users, answers, passed.table, started, deadline)

    def _called(self, stage: StageConfig, call: Callable[[], Any], end: float) -> tuple[Any, str]:
        """Returns the answer of a call, or None and why there is none."""
        pause = self._pauses[stage.title]
        if reason := pause.reason():
            return None, reason
        if _left(end) <= 0:
            return None, "DEADLINE_EXCEEDED: the stages before took all the time"
        try:
            answer = call()
        except ServingError as error:
            reason = f"{error.code}: {error.details}"
            if error.code in _LOST:
                pause.failed(reason)
            return None, reason
        except InputError as error:
            if error.where.startswith("user") and stage is self.config.stages[0]:
                raise
            return None, str(error)
        except (ValueError, KeyError) as error:
            return None, f"invalid answer or inputs: {error}"
        pause.succeeded()
        return answer, ""

    def _kept(
        self,
        stage: StageConfig,
        users: Users,
        answers: Sequence[StageAnswer],
        table: ItemTable | None,
        started: float,
        deadline: float,
    ) -> list[StageAnswer]:
        """Returns the best items that the stage's filter passes."""
        allowed, result = self._filters.get(stage.title), []
        for place, answer in enumerate(answers):
            ids, scores = answer.item_ids, answer.scores
            if allowed is not None and len(ids):
                table = table or self._tables.newest(_left(deadline))
                columns, _ = columns_of(table, ids, set(table.columns) if table else set())
                mask = np.asarray(allowed(Candidates(users.one(place), ids, scores, columns)))
                if mask.shape != ids.shape or mask.dtype != bool:
                    received = f"{mask.dtype} values of shape {list(mask.shape)}"
                    raise ValueError(f"filter of {stage.title}: received {received}; expected a bool for each item")
                ids, scores = ids[mask], scores[mask]
            result.append(
                replace(answer, item_ids=ids[: stage.keep], scores=scores[: stage.keep], milliseconds=_since(started))
            )
        return result


def _one(user: Mapping[str, Any], config: CascadeConfig) -> Users:
    users = Users.of(user)
    if users.count != 1:
        received = f"{users.count} values of {next(iter(user))}"
        fix = "ask for one user at a time, or call `answer_many`"
        raise InputError(f"user, for {config.stages[0].title}", received, "one user", fix)
    return users


def _pin(stage: StageConfig) -> dict[str, Any]:
    return {"label": stage.label} if stage.label is not None else {"version": stage.version}


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _since(started: float) -> float:
    return 1e3 * (time.monotonic() - started)
