"""The folder of a grid: whose it is, a file a cell, and all cells gathered."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.pool import TimeLeft
from runs.provenance import code_version, machine
from transforms.errors import InputError
from transforms.files import check_model_folder, write_text

GRID_FILE = "grid.json"
_CODE = ("transforms", "simulation", "evaluation", "models", "serving", "runs", "experiments")


def worker_count(workers: int | None, threads: int) -> int:
    """As many workers as asked for; as the cores have room for if nobody did."""
    return max(1, len(os.sched_getaffinity(0)) // threads) if workers is None else workers


def run_context(workers: int, threads: int) -> dict[str, Any]:
    """What the cells of a run have in common."""
    return {
        "command": " ".join(["consort", *sys.argv[1:]]),
        "code_sha256": code_version(*_CODE),
        "workers": workers,
        "threads": threads,
        "machine": machine(),
    }


def claim(root: Path, own: Mapping[str, Any]) -> None:
    """Makes a folder a grid's own.

    Args:
      root: the folder.
      own: what all cells of the grid depend on.

    Raises:
      InputError: it is another's.
    """
    check_model_folder(root, "--out")
    file = root / GRID_FILE
    if file.is_file():
        present = json.loads(file.read_text())
        if different := [key for key in own if present.get(key) != own[key]]:
            received = f"results with {different[0]} {present.get(different[0])}"
            raise InputError(str(root), received, f"{own[different[0]]}", "choose another --out")
        return
    if root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise InputError(str(root), "a folder in use", "a new or empty folder", "choose another --out")
    write_text(file, json.dumps(own, indent=1) + "\n")


def cell_file(root: Path, name: str) -> Path:
    """The file of a cell's result."""
    return root / "cells" / f"{name}.json"


class Recorder:
    """Writes each result as it comes, and tells how long the rest takes.

    Args:
      work: of the cells that are left: kind and amount, as `TimeLeft` takes them.
      total: number of cells, done ones included.
      root: the grid's folder.
      context: as `run_context` gives it.
      figure: a figure of a result and what it is, to be told.
      say: told it.
    """

    def __init__(
        self,
        work: Mapping[str, tuple[str, float]],
        total: int,
        root: Path,
        context: dict[str, Any],
        figure: Callable[[dict[str, Any]], str],
        say: Callable[[str], None],
    ):
        self._done, self._total, self._root, self._say = total - len(work), total, root, say
        self._context, self._figure = context, figure
        self._clock = TimeLeft(work, max(1, context["workers"]))

    def __call__(self, name: str, result: dict[str, Any]) -> None:
        """Takes a cell's result."""
        told = {**result, "context": {**self._context, "date": time.strftime("%Y-%m-%d")}}
        write_text(cell_file(self._root, name), json.dumps(told, indent=1) + "\n")
        self._done += 1
        self._clock.add(name, result["seconds"])
        text = f"[{self._done}/{self._total}] {name}: {self._figure(result)} in {result['seconds']:.0f} s"
        self._say(f"{text}; about {(self._clock.seconds or 0.0) / 60:.0f} min left")


def gathered(root: Path, names: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results of those cells that have one, and what they were run in, each context once."""
    contexts: list[dict[str, Any]] = []
    found = []
    for file in (cell_file(root, name) for name in names):
        if not file.is_file():
            continue
        result = json.loads(file.read_text())
        context = result.pop("context")
        # Where it lay is nobody's business.
        context["command"] = context["command"].replace(str(root), root.name)
        if context not in contexts:
            contexts.append(context)
        found.append({**result, "context": contexts.index(context)})
    return contexts, found
