"""A server under mixed load while the versions of its models change: failures, wrong answers, memory."""

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Memory
from benchmarks.served_models import (
    ROW_RANKER,
    SET_RANKER,
    TOWERS,
    Request,
    ServedModels,
    server_process,
    with_candidates,
)
from benchmarks.timing import percentile_ms
from runs.provenance import machine
from serving.client import PredictClient, ServingError
from serving.loading import Scorer
from serving.retrieval.signatures import SCORE

MODELS = (SET_RANKER, ROW_RANKER, TOWERS)
_VARIANTS = 2
_SHARES = (0.02, 0.3, 1.0)
"""Of the candidates of the logged requests that a request has."""
_ROWS, _USERS = (1, 8, 64), ((1, 100), (8, 10))
"""Rows of a request for the row ranker; users and k of one for the towers."""
_TOLERANCE = 1e-4
_KEPT = 2
"""Version folders at a time."""
_SHOWN = 3
_REST_S = 10.0
"""Between the last request and the last look at the memory."""

Say = Callable[[str], None]
Outputs = Mapping[str, np.ndarray]


def bench_versions(
    minutes: float = 30.0,
    flip_seconds: float = 60.0,
    threads: int = 3,
    candidates: int = 200,
    history: int = 50,
    seed: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Sends requests of many kinds to three models while one version after the other is published.

    The models are a set ranker, a row ranker and towers that retrieve. Of each, two of different weights take turns.
    Each answer is compared with that of the version which it names, worked out by TensorFlow in this process.

    Args:
      minutes: how long.
      flip_seconds: between two versions.
      threads: clients, each with one request at a time.
      candidates, history: elements of the largest request of the set ranker.
      seed: of the log, the weights and the choice of requests.
      say: receives progress messages.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("simulating a log, exporting two versions of each model, working out their answers")
        models = ServedModels(folder / "made", candidates, history, seed)
        variants = [_export_all(models, number + 1) for number in range(_VARIANTS)]
        requests = _requests(models)
        expected = [_answers(variant, requests) for variant in variants]
        base = folder / "serving"
        _publish(variants, base, 1)
        with server_process(base, xla=False) as (address, process):
            memory = Memory(process)
            load = _Load(address, requests, expected, threads)
            flips = load.run(minutes, flip_seconds, lambda number: _publish(variants, base, number), seed, say)
            measured = memory.summary()
            time.sleep(min(_REST_S, 6 * minutes))
            measured["memory_mb_after"] = memory.now()
            running = process.poll() is None
    return {
        **load.summary(),
        **measured,
        "flips": flips,
        "server_running": running,
        "models": list(MODELS),
        "minutes": minutes,
        "threads": threads,
        "candidates": candidates,
        "history": history,
        "seed": seed,
        "machine": machine(),
    }


def _export_all(models: ServedModels, version: int) -> dict[str, Path]:
    return {name: models.export(name, version) for name in MODELS}


def _requests(models: ServedModels) -> list[list[Request]]:
    """Returns requests by kind: one is chosen among the kinds first."""
    kinds = [
        [request._replace(inputs=with_candidates(request.inputs, share)) for request in models.set_requests()]
        for share in _SHARES
    ]
    kinds += [models.row_requests(rows) for rows in _ROWS]
    return kinds + [models.user_requests(users, k) for users, k in _USERS]


def _answers(variant: Mapping[str, Path], requests: Sequence[Sequence[Request]]) -> list[list[Outputs]]:
    scorers = {name: Scorer(directory) for name, directory in variant.items()}
    return [[scorers[one.model].ask(one.signature, one.inputs) for one in kind] for kind in requests]


def _publish(variants: Sequence[Mapping[str, Path]], base: Path, number: int) -> None:
    """Publishes a version of each model, of odd and even numbers in turns, and removes what is too old."""
    for name, variant in variants[number % len(variants)].items():
        versions = base / name
        shutil.copytree(variant, versions / f".{number}.tmp")
        os.rename(versions / f".{number}.tmp", versions / str(number))
        if (old := versions / str(number - _KEPT)).is_dir():
            os.rename(old, versions / f".{old.name}.removed")
            shutil.rmtree(versions / f".{old.name}.removed")


class _Load:
    """Requests of many kinds from several clients, and what became of them.

    Args:
      address: of the server.
      requests: by kind.
      expected: outputs of each request by each variant; a version's variant is its number modulo their number.
      threads: clients.
    """

    def __init__(
        self,
        address: str,
        requests: Sequence[Sequence[Request]],
        expected: Sequence[Sequence[Sequence[Outputs]]],
        threads: int,
    ):
        self._requests, self._expected = requests, expected
        self._clients = [PredictClient(address, timeout_s=60.0) for _ in range(threads)]
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._seconds: dict[str, list[float]] = {}
        self._versions = set[tuple[str, int]]()
        self._failures, self._wrong = list[str](), list[str]()
        self._sent = 0

    def run(self, minutes: float, flip_seconds: float, publish: Callable[[int], None], seed: int, say: Say) -> int:
        """Sends requests until the time is over, and returns how many versions were published meanwhile."""
        end, number = time.monotonic() + 60 * minutes, 1
        with ThreadPoolExecutor(len(self._clients)) as pool:
            chances = [random.Random(seed + place) for place in range(len(self._clients))]
            senders = [pool.submit(self._send, *pair) for pair in zip(self._clients, chances, strict=True)]
            try:
                while (left := end - time.monotonic()) > 0:
                    time.sleep(min(flip_seconds, left))
                    if time.monotonic() < end:
                        number += 1
                        publish(number)
                        say(f"version {number}; {self._sent} requests, {len(self._failures)} failed")
            finally:
                self._stop.set()
            for sender in senders:
                sender.result()
        return number - 1

    def _send(self, client: PredictClient, chance: random.Random) -> None:
        calls = (self._predict, self._predict, self._predict, self._refused, self._metadata, self._status)
        with client:
            while not self._stop.is_set():
                call = chance.choice(calls)
                try:
                    call(client, chance)
                except ServingError as error:
                    self._note(self._failures, f"{call.__name__}: {error}")
                with self._lock:
                    self._sent += 1

    def _note(self, notes: list[str], text: str) -> None:
        with self._lock:
            notes.append(text)

    def _choose(self, chance: random.Random) -> tuple[int, int, Request]:
        kind = chance.randrange(len(self._requests))
        number = chance.randrange(len(self._requests[kind]))
        return kind, number, self._requests[kind][number]

    def _predict(self, client: PredictClient, chance: random.Random) -> None:
        kind, number, request = self._choose(chance)
        start = time.perf_counter()
        answer = client.predict(request.model, request.inputs, request.signature)
        seconds = time.perf_counter() - start
        with self._lock:
            self._seconds.setdefault(request.model, []).append(seconds)
            self._versions.add((request.model, answer.version))
        if not same_answer(answer.outputs, self._expected[answer.version % len(self._expected)][kind][number]):
            self._note(self._wrong, f"{request.model}, request {number} of kind {kind}, version {answer.version}")

    def _refused(self, client: PredictClient, chance: random.Random) -> None:
        _, _, request = self._choose(chance)
        try:
            client.predict(request.model, {**request.inputs, "no_such_input": np.zeros([1])}, request.signature)
        except ServingError as error:
            if error.code != "INVALID_ARGUMENT":
                raise
        else:
            self._note(self._wrong, "an input that no signature has was taken")

    def _metadata(self, client: PredictClient, chance: random.Random) -> None:
        _, _, request = self._choose(chance)
        if request.signature not in client.metadata(request.model):
            self._note(self._wrong, f"metadata without {request.signature}")

    def _status(self, client: PredictClient, chance: random.Random) -> None:
        _, _, request = self._choose(chance)
        if not any(version.state == "AVAILABLE" for version in client.status(request.model)):
            self._note(self._wrong, f"no version of {request.model} is AVAILABLE")

    def summary(self) -> dict[str, Any]:
        """Returns counts, latencies and the first of what went wrong."""
        seconds = {name: np.array(values) for name, values in sorted(self._seconds.items())}
        every = np.concatenate([*seconds.values()] or [np.array([np.nan])])
        return {
            "answers": sum(map(len, seconds.values())),
            "answers_by_model": {name: len(values) for name, values in seconds.items()},
            "requests": self._sent,
            "failed": len(self._failures),
            "failures": self._failures[:_SHOWN],
            "wrong": len(self._wrong),
            "wrong_answers": self._wrong[:_SHOWN],
            "versions_answered": len({version for _, version in self._versions}),
            "p50_ms": percentile_ms(every, 50),
            "p99_ms": percentile_ms(every, 99),
            "p99_ms_by_model": {name: percentile_ms(values, 99) for name, values in seconds.items()},
        }


def same_answer(outputs: Outputs, expected: Outputs) -> bool:
    """Returns True if all outputs are those expected, up to rounding.

    Retrieved items of scores that rounding cannot tell apart may stand in any order.
    """
    numbers = {name: values for name, values in expected.items() if values.dtype != object}
    if set(outputs) != set(expected) or any(outputs[name].shape != expected[name].shape for name in expected):
        return False
    if not all(np.allclose(outputs[name], values, _TOLERANCE, _TOLERANCE) for name, values in numbers.items()):
        return False
    for name in expected.keys() - numbers.keys():
        scores = expected[SCORE]
        gaps = np.abs(np.diff(scores, axis=1))
        clear = np.pad(gaps, ((0, 0), (1, 0)), constant_values=np.inf)
        clear = np.minimum(clear, np.pad(gaps, ((0, 0), (0, 1)))) > 2 * _TOLERANCE * (1 + np.abs(scores))
        if np.any((outputs[name] != expected[name]) & clear):
            return False
    return True
