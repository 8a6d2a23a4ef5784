"""Training speed: the same DeepFM in Consort, DeepCTR and FuxiCTR; Consort's other models and recipes; growth.

Each contender is a separate process that trains from memory, on command. In each round every contender trains, in an
order that rotates, so that other load on the machine affects all of them.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.peers.environments import PEERS, Environments
from benchmarks.peers.task import Task, distinct_ids
from benchmarks.train_process import Worker, consort_path, peer_path
from benchmarks.train_results import CONSORT, PRODUCTS, SAME_MODEL, Timing, ratios, raw_results
from runs.provenance import machine

SIZES = {"100k": 100_000, "1m": 1_000_000, "4m": 4_000_000}
"""Ids of all fields together, by their name in results."""

EXPONENTS = {"zipf": 1.2, "uniform": 0.0}
"""A batch of 4000 then names 37,000 distinct ids of 1 M; the first 4000 rows of Criteo name 27,000."""

MODELS = ("deepfm", "dcn", "pnn", "fibinet")
Part = Literal["sizes", "growth", "models", "duet", "cs3"]
PARTS: tuple[Part, ...] = get_args(Part)
STREAM_BATCH, STREAM_UNITS, STORE_WIDTH = 4096, (256, 128, 64), 64
SET_RANKER, SET_RANKER_UNITS = "set_ranker", (256, 128, 64)
REQUESTS = 64
"""In a batch, each with 100 candidates."""

FULL, PLAIN, STORE = "cs3", "cs3_plain", "store"
_WORKERS = {SET_RANKER: "requests", FULL: "stream", PLAIN: "stream", STORE: "stream", PRODUCTS: "products"}
_CALIBRATION_STEPS = 3
_MAX_STEPS = 500
_QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Contender:
    """A library and task to time.

    Args:
      name: in the results.
      library: `consort` or a peer.
      task: what it trains.
    """

    name: str
    library: str
    task: Task


def bench_train(
    parts: Sequence[Part] = PARTS,
    ids: str = "zipf",
    rounds: int = 5,
    round_s: float = 3.0,
    threads: int = 2,
    seed: int = 1,
    peers: Path | None = None,
    fast: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Seconds a step and examples per second of each contender, round by round, and their ratios.

    Args:
      parts: `sizes` (the same DeepFM in each library, at each size), `growth` (Consort's at all sizes,
        in the same rounds), `models` (Consort's models, and four that teach each other, at 1 M ids),
        `duet` (a set ranker, and a pair of them that label each other's unexposed candidates, on requests),
        `cs3` (towers and a ranker with what CS3 lets them share and without, 1 M users and 1 M items; a store of
        vectors alone, by its ids).
      ids: `zipf` or `uniform`.
      rounds: the result is their median; all are kept.
      round_s: approximate seconds that a contender trains in a round.
      threads: of each library.
      seed: of data and weights.
      peers: folder of the peers' environments, all of them required; None: those in the default folder.
      fast: a hundredth of the ids, small batches and short rounds: a smoke test, not a measurement.
      say: receives progress messages.

    Raises:
      MissingPart: `peers` is given and lacks one.
      ConsortError: a contender failed; the message includes its stderr.
    """
    load = _load(say)
    environments = Environments.at(peers)
    missing = _missing(environments, peers is not None, "sizes" in parts, say)
    task, sizes = Task(exponent=EXPONENTS[ids], threads=threads, seed=seed), dict(SIZES)
    if fast:
        sizes, round_s = {name: size // 100 for name, size in SIZES.items()}, 0.05
        task = replace(task, batch_size=100, batches=2, hidden_units=(16, 8))
    timings: dict[str, dict[str, Timing]] = {}
    for group, contenders in _groups(parts, task, sizes, [peer for peer in PEERS if peer not in missing]).items():
        say(f"{group}: {', '.join(contender.name for contender in contenders)}")
        timings[group] = _time(contenders, rounds, round_s, environments)
        for name, timing in timings[group].items():
            say(f"  {name}: {timing.step_ms:.1f} ms a step, {timing.examples_per_s:,.0f} examples/s")
    return {
        **ratios(timings),
        **raw_results(timings),
        "settings": {"ids": ids, "sizes": sizes, "rounds": rounds, "round_s": round_s, "fast": fast, **_common(task)},
        "distinct_ids_a_batch": {name: distinct_ids(replace(task, ids=size)) for name, size in sizes.items()},
        "missing_peers": missing,
        "load_average_before": load,
        "command": " ".join(["consort", *sys.argv[1:]]),
        "machine": machine(),
    }


def _load(say: Callable[[str], None]) -> float:
    load = os.getloadavg()[0]
    if load > _QUIET_LOAD:
        say(f"other work keeps about {load:.1f} cores busy; figures of libraries that wait by spinning suffer most")
    return load


def _missing(environments: Environments, required: bool, are_compared: bool, say: Callable[[str], None]) -> list[str]:
    if required:
        environments.require()
    missing = environments.missing()
    if missing and are_compared:
        say(f"not installed, so not timed: {', '.join(missing)}; `consort bench peers` installs them")
    return missing


def _groups(
    parts: Sequence[Part], task: Task, sizes: Mapping[str, int], peers: Sequence[str]
) -> dict[str, list[Contender]]:
    groups: dict[str, list[Contender]] = {}
    if "sizes" in parts:
        for name, size in sizes.items():
            groups[f"{SAME_MODEL}{name}"] = _same_model(replace(task, ids=size), peers, with_defaults=name == "1m")
    if "growth" in parts:
        groups["growth"] = [Contender(name, CONSORT, replace(task, ids=size)) for name, size in sizes.items()]
    if "models" in parts:
        million = replace(task, ids=sizes["1m"])
        alone = [Contender(model, CONSORT, replace(million, model=model)) for model in MODELS]
        groups["models"] = [*alone, Contender("deepfm_4_peers", CONSORT, replace(million, peers=4))]
    if "duet" in parts:
        groups["duet"] = _requests(replace(task, ids=sizes["1m"]))
    if "cs3" in parts:
        groups |= _stream(task, sizes)
    return groups


def _stream(task: Task, sizes: Mapping[str, int]) -> dict[str, list[Contender]]:
    rows = min(STREAM_BATCH, task.batch_size * 2)
    # Users and items have half of the ids each.
    both = replace(task, ids=2 * sizes["1m"], batch_size=rows, hidden_units=STREAM_UNITS)
    store = replace(task, model=STORE, batch_size=rows, width=STORE_WIDTH)
    return {
        "cs3": [Contender(name, CONSORT, replace(both, model=name)) for name in (FULL, PLAIN)],
        "store": [Contender(name, CONSORT, replace(store, ids=sizes[name])) for name in ("100k", "4m")],
    }


def _requests(task: Task) -> list[Contender]:
    requests = min(REQUESTS, task.batch_size // 25)
    one = replace(task, model=SET_RANKER, batch_size=requests, hidden_units=SET_RANKER_UNITS)
    return [Contender(SET_RANKER, CONSORT, one), Contender("duet", CONSORT, replace(one, peers=2))]


def _same_model(task: Task, peers: Sequence[str], with_defaults: bool) -> list[Contender]:
    consort = [
        Contender(CONSORT, CONSORT, task),
        Contender(f"{CONSORT}_bfloat16", CONSORT, replace(task, dtype="bfloat16")),
    ]
    others = [Contender(peer, peer, task) for peer in peers]
    if not with_defaults:
        return consort + others
    if "deepctr" in peers:
        others.append(Contender("deepctr_as_shipped", "deepctr", replace(task, as_shipped=True)))
    limit = replace(task, model=PRODUCTS)
    others += [
        Contender(PRODUCTS, CONSORT, limit),
        Contender(f"{PRODUCTS}_bfloat16", CONSORT, replace(limit, dtype="bfloat16")),
    ]
    return consort + others


def _time(
    contenders: Sequence[Contender], rounds: int, round_s: float, environments: Environments
) -> dict[str, Timing]:
    with ExitStack() as stack:
        path = stack.enter_context(peer_path())
        workers = []
        for contender in contenders:
            worker = _start(contender, environments, path)
            stack.callback(worker.close)
            # One after the other: compilation and filling of tables would disturb the others.
            worker.wait_until_ready()
            workers.append(worker)
        steps = [_steps_for(worker, round_s) for worker in workers]
        answers: list[list[dict[str, float]]] = [[] for _ in workers]
        for number in range(rounds):
            for turn in range(len(workers)):
                which = (number + turn) % len(workers)
                answers[which].append(workers[which].run(steps[which]))
        return {
            contender.name: Timing(
                task=contender.task,
                steps=steps[which],
                seconds=tuple(answer["seconds"] for answer in answers[which]),
                cpu_seconds=tuple(answer["cpu_seconds"] for answer in answers[which]),
                loss=answers[which][-1]["loss"],
                peak_gb=answers[which][-1]["peak_gb"],
                about=workers[which].about,
            )
            for which, contender in enumerate(contenders)
        }


def _start(contender: Contender, environments: Environments, path: Path) -> Worker:
    if contender.library == CONSORT:
        kind = _WORKERS.get(contender.task.model, "consort")
        return Worker(contender.name, Path(sys.executable), f"benchmarks.train_{kind}", contender.task, consort_path())
    module = f"benchmarks.peers.{contender.library}_worker"
    return Worker(contender.name, environments.python(contender.library), module, contender.task, path)


def _steps_for(worker: Worker, round_s: float) -> int:
    seconds = worker.run(_CALIBRATION_STEPS)["seconds"] / _CALIBRATION_STEPS
    return max(_CALIBRATION_STEPS, min(_MAX_STEPS, round(round_s / seconds)))


def _common(task: Task) -> dict[str, Any]:
    names = ("fields", "width", "hidden_units", "batch_size", "batches", "exponent", "threads", "seed")
    return {name: getattr(task, name) for name in names}
