"""Scoring a candidate set in one pass: linear attention against exact attention, in time and in memory.

The same set ranker, with the same weights and either feature map, scores one request from looked-up vectors: compiled
by XLA, and as a plain graph. Each round times every contender.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.score_process import Case, Request, to_json
from benchmarks.train_process import consort_path, environment
from runs.provenance import machine
from transforms.errors import ConsortError

LINEAR, EXACT = "elu1", "exact"
MAPS = (LINEAR, EXACT)
HEADLINE = 4500
"""Candidates of DUET's pre-ranking stage in production."""

TABLE = (500, 1000, 4500)
GROWTH = (1000, 4000)
MEMORY = (1000, 2000, 4000, 8000)
WAYS = ("xla", "graph")
_ROUND_S = 0.3


def bench_score(
    rounds: int = 7,
    threads: int = 2,
    seed: int = 1,
    fast: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measures milliseconds per request, and peak memory, of a set ranker's head with linear and with exact attention.

    Args:
      rounds: the result is their median; all are kept.
      threads: of TensorFlow.
      seed: of weights and vectors.
      fast: a hundredth of the sizes, and two of the four sizes of memory: a smoke test, not a measurement.
      say: receives progress messages.

    Raises:
      ConsortError: a child process failed; the message includes its stderr.
    """
    request = Request(history=10 if fast else Request.history, seed=seed)
    scale, round_s = (100, 0.01) if fast else (1, _ROUND_S)
    cases = timed_cases(scale)
    say(f"timing {len(cases)} contenders, {rounds} rounds")
    times = _child(to_json("time", cases, request, threads, rounds=rounds, round_s=round_s), threads)
    memory: dict[str, dict[str, float]] = {}
    for feature_map in MAPS:
        for candidates in MEMORY[:: 3 if fast else 1]:
            case = Case("ranker", feature_map, False, candidates // scale)
            answer = _child(to_json("memory", [case], request, threads), threads)
            memory.setdefault(feature_map, {})[str(candidates)] = answer["peak_mb"]
        say(f"peak memory, {feature_map}: {', '.join(f'{mb:.0f} MB' for mb in memory[feature_map].values())}")
    settings = {"history": request.history, "width": request.width, "heads": request.heads, "scale": scale}
    return {
        **summary(times["seconds"], memory, scale),
        "rounds_ms": {name: [1000 * value for value in values] for name, values in times["seconds"].items()},
        "calls_a_round": times["calls_a_round"],
        "settings": {**settings, "rounds": rounds, "threads": threads, "seed": seed, "fast": fast},
        "machine": machine(),
    }


def timed_cases(scale: int = 1) -> list[Case]:
    """Returns the cases to time; sizes divided by `scale`."""
    sizes = [size // scale for size in sorted({*TABLE, *GROWTH})]
    cases = [
        Case(part, feature_map, way == "xla", size)
        for part, of_part in (("ranker", sizes), ("attention", [HEADLINE // scale]))
        for size in of_part
        for feature_map in MAPS
        for way in WAYS
    ]
    return list(dict.fromkeys(cases))


def summary(
    seconds: Mapping[str, Sequence[float]], memory: Mapping[str, Mapping[str, float]], scale: int = 1
) -> dict[str, Any]:
    """Returns the headline figures, of medians; of XLA and the plain graph the less favorable one.

    Args:
      seconds: of each round, by the case's name.
      memory: peak megabytes by feature map and number of candidates.
      scale: see `timed_cases`.
    """

    def median(part: str, feature_map: str, way: str, candidates: int) -> float:
        return statistics.median(seconds[Case(part, feature_map, way == "xla", candidates // scale).name])

    def to_linear(part: str) -> dict[str, float]:
        return {way: median(part, EXACT, way, HEADLINE) / median(part, LINEAR, way, HEADLINE) for way in WAYS}

    small, large = GROWTH
    growth = {
        feature_map: {
            way: median("ranker", feature_map, way, large) / median("ranker", feature_map, way, small) for way in WAYS
        }
        for feature_map in MAPS
    }
    ranker, attention = to_linear("ranker"), to_linear("attention")
    return {
        "ratio_exact_to_linear": min(ranker.values()),
        "ratio_exact_to_linear_attention_alone": min(attention.values()),
        "time_ratio_4000_to_1000": max(growth[LINEAR].values()),
        "time_ratio_4000_to_1000_exact": max(growth[EXACT].values()),
        "ratio_by_way": {"ranker": ranker, "attention": attention},
        "time_ratio_by_way": growth,
        "latency_ms": {
            str(size): {
                feature_map: {way: 1000 * median("ranker", feature_map, way, size) for way in WAYS}
                for feature_map in MAPS
            }
            for size in TABLE
        },
        "peak_mb": {feature_map: dict(peaks) for feature_map, peaks in memory.items()},
        "peak_mb_ratio_8000_to_1000": {
            feature_map: peaks[str(MEMORY[-1])] / peaks[str(MEMORY[0])] if peaks[str(MEMORY[0])] > 0 else None
            for feature_map, peaks in memory.items()
        },
    }


def _child(argument: str, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.score_process", argument]
    child_environment = environment(consort_path(), threads)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment)
    if done.returncode:
        raise ConsortError(f"scoring failed:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
