"""The child processes of `benchmarks.score`: time and memory of a set ranker's head for one request.

The only argument is a JSON object; its `do` is `time` or `memory`. The last line of stdout is the answer.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.layers.linear_attention import LinearAttention
from models.layers.set_vectors import SetVectors
from models.preranking.set_ranker import SetRanker
from simulation.cascade_log import feature_set
from simulation.parameters import World
from transforms.features import ModelInput, Shape

EMBEDDING_DIM = 16
PEAK_WARM_UP = 16
"""Candidates of a first request, so that memory that any request takes does not count as growth."""

Score = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Args:
      part: `ranker`, all of `interact`; or `attention`, the two streams alone.
      feature_map: of `LinearAttention`.
      compiled: by XLA, else a plain graph; shapes are static in both.
      candidates: M.
    """

    part: str
    feature_map: str
    compiled: bool
    candidates: int

    @property
    def name(self) -> str:
        """E.g. `ranker elu1 xla 4500`."""
        return f"{self.part} {self.feature_map} {'xla' if self.compiled else 'graph'} {self.candidates}"


@dataclass(frozen=True)
class Request:
    """What one request holds, and the ranker's attention."""

    history: int = 1000
    width: int = 64
    heads: int = 4
    seed: int = 1


def measure_times(cases: Sequence[Case], request: Request, rounds: int, round_s: float) -> dict[str, Any]:
    """Returns the seconds of a call of each case, `[rounds]`, by name; the order of cases rotates."""
    scores = [_score(case, request) for case in cases]
    calls = [_calls(score, round_s) for score in scores]
    seconds: list[list[float]] = [[] for _ in cases]
    for number in range(rounds):
        for turn in range(len(cases)):
            which = (number + turn) % len(cases)
            seconds[which].append(_seconds(scores[which], calls[which]) / calls[which])
    return {
        "seconds": {case.name: values for case, values in zip(cases, seconds, strict=True)},
        "calls_a_round": {case.name: count for case, count in zip(cases, calls, strict=True)},
    }


def measure_memory(case: Case, request: Request) -> dict[str, Any]:
    """Returns `peak_mb`: peak resident memory while one request is scored, less the memory before."""
    run = _function(case, request)
    run(*_arguments(case, request, PEAK_WARM_UP, PEAK_WARM_UP))
    arguments = _arguments(case, request, case.candidates, request.history)
    before = _resident_mb("VmRSS")
    # Resets the peak.
    Path("/proc/self/clear_refs").write_text("5")
    run(*arguments).numpy()
    return {"peak_mb": _resident_mb("VmHWM") - before}


def _score(case: Case, request: Request) -> Score:
    run, arguments = _function(case, request), _arguments(case, request, case.candidates, request.history)
    return lambda: run(*arguments).numpy()


def _function(case: Case, request: Request) -> Callable[..., Any]:
    """Returns a function of `SetVectors`, or of candidates and history `[B, X, F D]`."""
    return tf.function(_part(case, request), jit_compile=case.compiled or None, autograph=False)


def _part(case: Case, request: Request) -> Callable[..., tf.Tensor]:
    """Returns the function to time, with its variables built, as XLA cannot create them."""
    attention: dict[str, Any] = {"width": request.width, "heads": request.heads, "feature_map": case.feature_map}
    if case.part == "ranker":
        inputs = _inputs()
        sizes = {str(item.vocabulary): 2 for item in inputs if item.vocabulary is not None}
        model = SetRanker(inputs, sizes, embedding_dim=EMBEDDING_DIM, seed=request.seed, **attention)
        model.build_head()
        return lambda *vectors: model.interact(SetVectors(*vectors), training=False)
    cross, among = (LinearAttention(seed=request.seed + k, **attention) for k in range(2))

    def both(candidates: tf.Tensor, history: tf.Tensor, real: tf.Tensor, read: tf.Tensor) -> tf.Tensor:
        return cross(candidates, history, read)[0] + among(candidates, candidates, real)[0]

    both(*_arguments(case, request, 1, 1))
    return both


def _inputs() -> tuple[ModelInput, ...]:
    return feature_set(World()).model_inputs("request")


def _arguments(case: Case, request: Request, candidates: int, history: int) -> tuple[tf.Tensor, ...]:
    def drawn(*shape: int) -> tf.Tensor:
        return tf.random.stateless_normal(shape, [request.seed, len(shape)], stddev=0.3)

    real, read = tf.ones([1, candidates], tf.bool), tf.ones([1, history], tf.bool)
    scalars, lists, per_candidate = (
        sum(item.shape is shape for item in _inputs()) for shape in (Shape.SCALAR, Shape.RAGGED, Shape.CANDIDATES)
    )
    width = EMBEDDING_DIM
    if case.part == "attention":
        return drawn(1, candidates, per_candidate * width), drawn(1, history, lists * width), real, read
    return (
        drawn(1, scalars, width),
        drawn(1, history, lists, width),
        read,
        drawn(1, candidates, per_candidate, width),
        real,
    )


def _calls(score: Score, round_s: float) -> int:
    # The first call traces and compiles, the second one warms up.
    score()
    score()
    return max(1, round(round_s / _seconds(score, 1)))


def _seconds(score: Score, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        score()
    return time.perf_counter() - start


def _resident_mb(line: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) * 1024 / 1e6


def to_json(do: str, cases: Sequence[Case], request: Request, threads: int, **more: Any) -> str:
    """Returns the argument of a child."""
    return json.dumps(
        {"do": do, "cases": [asdict(case) for case in cases], "request": asdict(request), "threads": threads, **more}
    )


def main(argument: str) -> dict[str, Any]:
    """Runs the measurement that the argument describes."""
    order = json.loads(argument)
    tf.config.threading.set_intra_op_parallelism_threads(order["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(order["threads"])
    cases, request = [Case(**case) for case in order["cases"]], Request(**order["request"])
    if order["do"] == "memory":
        return measure_memory(cases[0], request)
    return measure_times(cases, request, order["rounds"], order["round_s"])


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
