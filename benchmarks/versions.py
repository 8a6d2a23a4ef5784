"""A server under mixed load while the versions of its model change: failures, wrong answers, memory."""

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
from benchmarks.serve import MODEL, export_rankers, server_process
from benchmarks.timing import percentile_ms
from runs.provenance import machine
from serving.client import PredictClient, ServingError
from serving.loading import Scorer
from transforms.features import CANDIDATE, COUNT

_VARIANTS = 2
_SHARES = (0.02, 0.3, 1.0)
"""Of the candidates of the logged requests that a request has."""
_TOLERANCE = 1e-4
_KEPT = 2
"""Version folders at a time."""
_SHOWN = 3

Say = Callable[[str], None]
Inputs = Mapping[str, np.ndarray]


def bench_versions(
    minutes: float = 30.0,
    flip_seconds: float = 60.0,
    threads: int = 3,
    candidates: int = 200,
    history: int = 50,
    seed: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Sends requests of many kinds while one version of a set ranker after the other is published.

    Two models of different weights take turns. Each answer is compared with that of the version which it names, worked
    out by TensorFlow in this process.

    Args:
      minutes: how long.
      flip_seconds: between two versions.
      threads: requests at a time.
      candidates, history: elements of the largest request.
      seed: of the log, the weights and the choice of requests.
      say: receives progress messages.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("simulating a log, exporting two models, working out their answers")
        logged = export_rankers(folder / "made", candidates, history, seed, _VARIANTS)
        variants = [folder / "made" / "serving" / MODEL / str(number + 1) for number in range(_VARIANTS)]
        requests = [_cut(inputs, share) for inputs in logged for share in _SHARES]
        expected = [_answers(variant, requests) for variant in variants]
        base = folder / "serving" / MODEL
        _publish(variants, base, 1)
        with server_process(folder / "serving", xla=False) as (address, process):
            memory = Memory(process)
            load = _Load(address, requests, expected)
            flips = load.run(threads, minutes, flip_seconds, lambda number: _publish(variants, base, number), seed, say)
            running = process.poll() is None
    return {
        **load.summary(),
        **memory.summary(),
        "flips": flips,
        "server_running": running,
        "minutes": minutes,
        "threads": threads,
        "candidates": candidates,
        "history": history,
        "seed": seed,
        "machine": machine(),
    }


def _cut(inputs: Inputs, share: float) -> dict[str, np.ndarray]:
    """Returns the request with only the first of its candidates."""
    number = inputs[CANDIDATE].shape[1]
    kept = max(1, round(share * number))
    cut = {name: value[:, :kept] if value.shape[1:2] == (number,) else value for name, value in inputs.items()}
    if CANDIDATE + COUNT in cut:
        cut[CANDIDATE + COUNT] = np.minimum(cut[CANDIDATE + COUNT], kept)
    return cut


def _answers(directory: Path, requests: Sequence[Inputs]) -> list[np.ndarray]:
    model = Scorer(directory)
    return [model.ask("serving_default", inputs)["logit"] for inputs in requests]


def _publish(variants: Sequence[Path], base: Path, number: int) -> None:
    """Publishes a version, of odd and even numbers in turns, and removes what is too old."""
    shutil.copytree(variants[number % len(variants)], base / f".{number}.tmp")
    os.rename(base / f".{number}.tmp", base / str(number))
    if (old := base / str(number - _KEPT)).is_dir():
        os.rename(old, base / f".{old.name}.removed")
        shutil.rmtree(base / f".{old.name}.removed")


class _Load:
    """Requests of many kinds from several threads, and what became of them.

    Args:
      address: of the server.
      requests: inputs.
      expected: logits of each request by each variant; a version's variant is its number modulo their number.
    """

    def __init__(self, address: str, requests: Sequence[Inputs], expected: Sequence[Sequence[np.ndarray]]):
        self._requests, self._expected = requests, expected
        self._client = PredictClient(address, timeout_s=60.0)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._seconds, self._versions = list[float](), set[int]()
        self._failures, self._wrong = list[str](), list[str]()
        self._counts: dict[str, int] = {}

    def run(
        self,
        threads: int,
        minutes: float,
        flip_seconds: float,
        publish: Callable[[int], None],
        seed: int,
        say: Say,
    ) -> int:
        """Sends requests until the time is over, and returns how many versions were published meanwhile."""
        end, number = time.monotonic() + 60 * minutes, 1
        with self._client, ThreadPoolExecutor(threads) as pool:
            senders = [pool.submit(self._send, random.Random(seed + thread)) for thread in range(threads)]
            try:
                while (left := end - time.monotonic()) > 0:
                    time.sleep(min(flip_seconds, left))
                    if time.monotonic() < end:
                        number += 1
                        publish(number)
                        say(f"version {number}; {len(self._seconds)} answers, {len(self._failures)} failed")
            finally:
                self._stop.set()
            for sender in senders:
                sender.result()
        return number - 1

    def _send(self, chance: random.Random) -> None:
        kinds = (self._predict, self._predict, self._predict, self._refused, self._metadata, self._status)
        while not self._stop.is_set():
            kind = chance.choice(kinds)
            try:
                kind(chance)
            except ServingError as error:
                self._note(self._failures, f"{kind.__name__}: {error}")
            with self._lock:
                self._counts[kind.__name__] = self._counts.get(kind.__name__, 0) + 1

    def _note(self, notes: list[str], text: str) -> None:
        with self._lock:
            notes.append(text)

    def _predict(self, chance: random.Random) -> None:
        index = chance.randrange(len(self._requests))
        start = time.perf_counter()
        answer = self._client.predict(MODEL, self._requests[index])
        seconds = time.perf_counter() - start
        expected = self._expected[answer.version % len(self._expected)][index]
        logits = answer.outputs["logit"]
        with self._lock:
            self._seconds.append(seconds)
            self._versions.add(answer.version)
        if logits.shape != expected.shape or not np.allclose(logits, expected, _TOLERANCE, _TOLERANCE):
            self._note(self._wrong, f"request {index}, version {answer.version}")

    def _refused(self, chance: random.Random) -> None:
        inputs = dict(self._requests[chance.randrange(len(self._requests))])
        inputs["no_such_input"] = np.zeros([1])
        try:
            self._client.predict(MODEL, inputs)
        except ServingError as error:
            if error.code != "INVALID_ARGUMENT":
                raise
        else:
            self._note(self._wrong, "an input that no signature has was taken")

    def _metadata(self, chance: random.Random) -> None:
        if "serving_default" not in self._client.metadata(MODEL):
            self._note(self._wrong, "metadata without serving_default")

    def _status(self, chance: random.Random) -> None:
        if not any(version.state == "AVAILABLE" for version in self._client.status(MODEL)):
            self._note(self._wrong, "no version is AVAILABLE")

    def summary(self) -> dict[str, Any]:
        """Returns counts, latencies and the first of what went wrong."""
        seconds = np.array(self._seconds or [np.nan])
        return {
            "answers": len(self._seconds),
            "requests": sum(self._counts.values()),
            "failed": len(self._failures),
            "failures": self._failures[:_SHOWN],
            "wrong": len(self._wrong),
            "wrong_answers": self._wrong[:_SHOWN],
            "versions_answered": len(self._versions),
            "p50_ms": percentile_ms(seconds, 50),
            "p99_ms": percentile_ms(seconds, 99),
        }
