"""From a raw Criteo-shaped file to a trained DeepFM: Consort's commands, and FuxiCTR's preprocessing and training.

Both run as a user would run them, in processes of their own, in turns. FuxiCTR needs files with a header and one for
each split: these are written before its time begins.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.criteo_like import write_criteo_like
from benchmarks.peers.environments import Environments
from benchmarks.peers.task import Task
from benchmarks.train_process import consort_path, environment, peer_path
from consort.config import load_config
from runs.provenance import RUN_FILE, machine
from transforms.errors import ConsortError
from transforms.sources.criteo.schema import CATEGORIES, LABEL_FIELD, NUMBERS, CriteoOptions

PRESET = "criteo_deepfm"
CONSORT, PEER = "consort", "fuxictr"
PARTS = {
    CONSORT: ("import_start_up", "import", "audit", "start_up", "transform", "training", "evaluation", "export"),
    PEER: ("start_up", "preprocessing", "training"),
}
"""`start_up`: loading of libraries and, of Consort, checks; `evaluation`: beside baselines; `export`: with warm-up."""
IMPORTS = {"importing criteo": "import_start_up", "audit of": "import"}
TRAINS = {"transforming\n": "start_up", "training\n": "transform", "exporting\n": "training"}
"""What a command writes when a part has ended: the beginnings of lines."""
_ERROR_CHARACTERS = 3000


@dataclass(frozen=True)
class Turn:
    """One library's way from the raw file to a trained model.

    Args:
      seconds: by part.
      cpu_seconds: of all its processes, as far as they were waited for.
      auc, logloss: on the eval split.
      about: versions, and of Consort the metrics of baselines.
    """

    seconds: Mapping[str, float]
    cpu_seconds: float
    auc: float
    logloss: float
    about: Mapping[str, Any]

    @property
    def total(self) -> float:
        """Seconds from the raw file to the trained model."""
        return sum(self.seconds.values())


def bench_end_to_end(
    rows: int = 100_000,
    rounds: int = 2,
    threads: int = 2,
    seed: int = 1,
    peers: Path | None = None,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measures seconds from a raw file to a DeepFM after one epoch, part by part.

    Args:
      rows: of the raw file.
      rounds: turns of each library; the medians are reported.
      threads: of each library's matrix products.
      seed: of the rows and the weights.
      peers: folder of the peers' environments, FuxiCTR required; None: that of the default folder, if it is there.
      folder: working folder; None: a temporary one.
      say: receives progress messages.

    Raises:
      MissingPart: `peers` is given and lacks FuxiCTR.
      ConsortError: a library failed; the message includes its stderr.
    """
    load, environments = os.getloadavg()[0], Environments.at(peers)
    if peers is not None:
        environments.require([PEER])
    libraries = [CONSORT, PEER] if environments.is_installed(PEER) else [CONSORT]
    if PEER not in libraries:
        say(f"not installed, so not timed: {PEER}; `consort bench peers` installs it")
    config = load_config(PRESET)
    task = Task(
        batch_size=config.training.batch_size or Task.batch_size,
        width=config.model.embedding_dim,
        hidden_units=config.model.hidden_units,
        threads=threads,
        seed=seed,
    )
    turns: dict[str, list[Turn]] = {library: [] for library in libraries}
    with tempfile.TemporaryDirectory(dir=folder) as name, peer_path() as path:
        work = Path(name)
        (work / "raw").mkdir()
        write_criteo_like(work / "raw" / "train.txt", rows, seed)
        _write_csv(work / "raw" / "train.txt", work / "csv", rows)
        for number in range(rounds):
            for library in libraries[:: 1 if number % 2 == 0 else -1]:
                out = work / f"{library}{number}"
                measure = _consort if library == CONSORT else partial(_fuxictr, environments, path)
                turns[library].append(measure(work / ("raw" if library == CONSORT else "csv"), out, task))
                shutil.rmtree(out)
                say(f"round {number + 1}, {library}: {turns[library][-1].total:.1f} s")
    return {
        **summary(turns),
        "rows": rows,
        "rounds": rounds,
        "settings": {"preset": PRESET, "epochs": 1, **json.loads(task.to_json())},
        "load_average_before": load,
        "command": " ".join(["consort", *sys.argv[1:]]),
        "machine": machine(),
    }


def summary(turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    """Returns medians by library, all rounds, and how many times as long FuxiCTR takes; None if it was not measured."""

    def median(library: str, value: Callable[[Turn], float]) -> float:
        return statistics.median(map(value, turns[library]))

    seconds = {library: median(library, lambda turn: turn.total) for library in turns}
    return {
        "ratio_to_fuxictr": seconds[PEER] / seconds[CONSORT] if PEER in seconds else None,
        "seconds": seconds,
        "cpu_seconds": {library: median(library, lambda turn: turn.cpu_seconds) for library in turns},
        "parts": {
            library: {part: statistics.median(turn.seconds[part] for turn in turns[library]) for part in PARTS[library]}
            for library in turns
        },
        "rounds_seconds": {library: [turn.total for turn in each] for library, each in turns.items()},
        "auc": {library: median(library, lambda turn: turn.auc) for library in turns},
        "logloss": {library: median(library, lambda turn: turn.logloss) for library in turns},
        "about": {library: dict(each[-1].about) for library, each in turns.items()},
    }


def table_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Returns the rows of a table with the parts of each library, then the sums: library, part, seconds, share."""
    rows: list[tuple[str, ...]] = []
    for library, parts in result["parts"].items():
        total = sum(parts.values())
        rows += [(library, part, f"{seconds:.1f}", f"{seconds / total:.0%}") for part, seconds in parts.items()]
        rows.append((library, "all", f"{result['seconds'][library]:.1f}", ""))
    return rows


def _write_csv(raw: Path, folder: Path, rows: int) -> None:
    """Writes the splits as FuxiCTR reads them: 80 % to train on, 10 % to evaluate on."""
    folder.mkdir()
    header = ",".join((LABEL_FIELD, *NUMBERS, *CATEGORIES)) + "\n"
    sizes = {"train": rows * 8 // 10, "valid": rows // 10}
    with open(raw) as lines:
        for split, size in sizes.items():
            with open(folder / f"{split}.csv", "w") as file:
                file.write(header)
                file.writelines(next(lines).replace("\t", ",") for _ in range(size))


def _consort(raw: Path, out: Path, task: Task) -> Turn:
    out.mkdir()
    data, run, answer = str(out / "data"), out / "run", out / "train.json"
    imports = ["data", "import", "criteo", "--input", str(raw), "--out", data]
    seconds, cpu = _timed(imports, IMPORTS, "audit", task.threads)
    trains = ["train", PRESET, "--data", data, "--out", str(run), "--set", "training.epochs=1"]
    trained, more = _timed([*trains, "--seed", str(task.seed), "--json", str(answer)], TRAINS, "export", task.threads)
    # The record of a run is written when its evaluation has ended and before its export begins.
    export = time.time() - (run / RUN_FILE).stat().st_mtime
    trained = {**trained, "evaluation": trained["export"] - export, "export": export}
    result = json.loads(answer.read_text())
    figures = result["evaluation"]
    about = {"steps": result["training"]["steps"], "baselines": figures.get("baselines", {})}
    return Turn({**seconds, **trained}, cpu + more, figures["auc"], figures["logloss"], about)


def _timed(
    arguments: Sequence[str], ends: Mapping[str, str], last: str, threads: int
) -> tuple[dict[str, float], float]:
    """Runs a command of Consort; returns the seconds of its parts, by the lines that it writes, and CPU seconds.

    Args:
      arguments: of the command.
      ends: by the beginning of a line the part that ends with it.
      last: the part that ends with the command.
      threads: of matrix products.

    Raises:
      ConsortError: it failed.
    """
    used, lines = os.times(), list[str]()
    command = [sys.executable, "-W", "ignore", "-m", "consort", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(consort_path(), threads),
    ) as process:
        seconds = part_seconds(process.stderr or (), ends, last, lines.append)
    if process.returncode or len(seconds) <= len(ends):
        written = "".join(lines)[-_ERROR_CHARACTERS:]
        raise ConsortError(f"consort {arguments[0]} ended with code {process.returncode}:\n{written}")
    return seconds, _children_since(used)


def part_seconds(
    lines: Iterable[str],
    ends: Mapping[str, str],
    last: str,
    keep: Callable[[str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Returns the seconds of the parts of a command, by when it writes lines.

    Args:
      lines: with their line breaks, each when it is written, until the command ends.
      ends: by the beginning of a line the part that ends with it.
      last: the part after all others.
      keep: receives each line.
      clock: in seconds.
    """
    seconds: dict[str, float] = {}
    before = clock()
    for line in lines:
        keep(line)
        part = next((part for beginning, part in ends.items() if line.startswith(beginning)), None)
        if part is not None and part not in seconds:
            now = clock()
            seconds[part], before = now - before, now
    return {**seconds, last: clock() - before}


def _fuxictr(environments: Environments, path: Path, data: Path, out: Path, task: Task) -> Turn:
    out.mkdir()
    order = {
        "task": replace(task, fields=len(NUMBERS) + len(CATEGORIES)).to_json(),
        "numbers": NUMBERS,
        "categories": CATEGORIES,
        "min_count": CriteoOptions().frequency_threshold,
        "data": str(data),
        "out": str(out),
        "started": time.time(),
    }
    used = os.times()
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        command = [str(environments.python(PEER)), "-W", "ignore", "-m", "benchmarks.peers.fuxictr_end_to_end"]
        done = subprocess.run(
            [*command, str(answer.fileno())],
            input=json.dumps(order).encode() + b"\n",
            stdout=errors,
            stderr=errors,
            pass_fds=[answer.fileno()],
            env={**environment(path, task.threads), "RAY_USAGE_STATS_ENABLED": "0"},
            check=False,
        )
        answer.seek(0)
        errors.seek(0)
        text = answer.read()
        if done.returncode or not text:
            written = errors.read().decode(errors="replace")[-_ERROR_CHARACTERS:]
            raise ConsortError(f"{PEER} ended with code {done.returncode}:\n{written}")
    result = json.loads(text)
    return Turn(
        result["seconds"], _children_since(used), result["auc"], result["logloss"], {"versions": result["versions"]}
    )


def _children_since(before: os.times_result) -> float:
    now = os.times()
    return now.children_user + now.children_system - before.children_user - before.children_system
