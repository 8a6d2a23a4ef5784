"""The worker's side of the protocol: it prepares, then takes steps on command, and reports how long they took.

One line of JSON each way. On stdin: the task, then `{"steps": 20}` any number of times; its end ends the
worker. To the file descriptor that is the only argument: `{"ready": {...}}`, then for each order
`{"seconds": 1.5, "cpu_seconds": 2.9, "loss": 0.6, "peak_gb": 0.9}`.
"""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from benchmarks.peers.task import Task

WARM_UP_STEPS = 3
Run = Callable[[int], float]
"""Trains a number of steps, waits for them, and returns the last loss."""


def serve(prepare: Callable[[Task], tuple[Run, dict[str, Any]]]) -> None:
    """Runs a worker.

    Args:
      prepare: takes a task; returns the training function and a description (versions, method).

    Raises:
      ValueError: a loss is not a finite number.
    """
    out = os.fdopen(int(sys.argv[1]), "w")
    run, about = prepare(Task.from_json(sys.stdin.readline()))
    start = time.perf_counter()
    run(WARM_UP_STEPS)
    _say(out, {"ready": {**about, "warm_up_s": time.perf_counter() - start}})
    for line in sys.stdin:
        start, before = time.perf_counter(), time.process_time()
        loss = run(json.loads(line)["steps"])
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - before
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss}; expected a finite number; look at the task's data")
        _say(out, {"seconds": seconds, "cpu_seconds": cpu_seconds, "loss": loss, "peak_gb": _peak_gb()})


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
