"""Learning from a stream with a server attached: versions, failed requests, memory."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Memory
from runs.provenance import machine
from transforms.errors import ConsortError

PRESET = "simulated_cs3_online"
_K, _PAUSE_S, _PATIENCE_S = 10, 0.02, 300.0
Say = Callable[[str], None]


def bench_online(spans: int, requests: int, seed: int, say: Say = lambda _: None) -> dict[str, Any]:
    """Runs `consort online` in a separate process, and sends requests to a server that loads its versions.

    Args:
      spans: of the stream; one version each.
      requests: simulated.
      seed: of the world.
      say: receives progress messages.

    Raises:
      ConsortError: learning failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        say(f"simulating {requests} requests, in {spans} spans")
        _make_stream(base, spans, requests, seed)
        say("learning, with a server beside")
        measured = _learn_and_query(base)
    return {**measured, "spans": spans, "requests": requests, "seed": seed, "machine": machine()}


def _make_stream(base: Path, spans: int, requests: int, seed: int) -> None:
    from simulation.cascade_log import simulate
    from simulation.parameters import load_world
    from transforms.spans import cut_spans

    simulate(base / "log", load_world(None), requests, seed)
    cut_spans(base / "log", base / "stream", spans)


def _learn_and_query(base: Path) -> dict[str, Any]:
    from serving.client import PredictClient
    from serving.retrieval.golden import read_golden_retrieval
    from serving.server.server import LocalServer
    from serving.versions import versions_in

    served, started = base / "served" / PRESET, time.monotonic()
    with _learner(base) as process:
        memory = Memory(process)
        _wait_until(lambda: bool(versions_in(served)), process, base)
        inputs, _, _ = read_golden_retrieval(versions_in(served)[0][1])
        one = {name: values[:1] for name, values in inputs.items()}
        with LocalServer({PRESET: served}, port=0, poll_s=0.5) as server:
            server.wait_ready(timeout_s=_PATIENCE_S)
            with PredictClient(server.address, timeout_s=20.0) as client:
                answers = _query(client, one, process)
        _check(process, base)
        seconds = time.monotonic() - started
    return {**answers, **memory.summary(), "seconds": seconds}


@contextlib.contextmanager
def _learner(base: Path) -> Iterator[subprocess.Popen[bytes]]:
    where = ("--stream", base / "stream", "--out", base / "run", "--serve", base / "served")
    command = [sys.executable, "-m", "consort", "online", PRESET, *map(str, where)]
    with (base / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ))
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], base: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            _check(process, base)
            raise ConsortError(f"no version was pushed in {_PATIENCE_S:g} s")
        time.sleep(0.1)


def _check(process: subprocess.Popen[bytes], base: Path) -> None:
    if process.poll():
        text = (base / "log.txt").read_text(errors="replace")[-2000:]
        raise ConsortError(f"consort online ended with code {process.returncode}; it wrote:\n{text}")


def _query(client: Any, inputs: dict[str, np.ndarray], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Sends requests until the learner ends."""
    from serving.client import ServingError

    milliseconds, versions, failures = [], set[int](), list[str]()
    while process.poll() is None:
        begin = time.perf_counter()
        try:
            versions.add(client.retrieve(PRESET, inputs, _K).version)
        except ServingError as error:
            failures.append(str(error))
        milliseconds.append(1e3 * (time.perf_counter() - begin))
        time.sleep(_PAUSE_S)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "answers": len(milliseconds) - len(failures),
        "failed": len(failures),
        "failures": failures[:3],
        "versions_answered": len(versions),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }
