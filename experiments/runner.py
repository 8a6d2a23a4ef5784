"""Runs a grid in a folder: the data of each place once, each cell once, whatever is killed in between.

The folder gets `grid.json`, on which all its cells depend, a file for each cell in `cells/`, the results of all in one
file, and in `work/` the data and the runs.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import tf_keras as keras

from experiments.grid import DEFAULT, SIMULATED, Grid, Place, cell_file
from experiments.pool import TimeLeft, run_tasks
from runs.provenance import code_version, machine
from transforms.errors import InputError
from transforms.files import check_model_folder, new_directory, write_text
from transforms.records import Dataset, load_dataset

GRID_FILE = "grid.json"
_CODE = ("transforms", "simulation", "evaluation", "models", "serving", "runs", "experiments")
_TASKS_PER_WORKER = 8
_RECORDS, _TRANSFORMED = "records", "transformed"
Say = Callable[[str], None]


class Cell(Protocol):
    """One training, whose result is one file."""

    @property
    def place(self) -> Place:
        """Its data."""

    @property
    def name(self) -> str:
        """Name of its file and of the folder of its run."""

    @property
    def kind(self) -> str:
        """Cells of one kind take about as long as each other, for equal work."""

    def needs(self, grid: Any) -> Sequence["Cell"]:
        """Returns the cells that must be done before it."""

    def work(self, grid: Any) -> float:
        """Returns how much work it is, in units of its kind."""


@dataclass(frozen=True)
class CellRun:
    """Where a cell is run.

    Args:
      cell: what is trained.
      grid: that it is of.
      root: folder of the results.
    """

    cell: Any
    grid: Any
    root: Path

    @property
    def data(self) -> "CellData":
        """The data of its place."""
        return data_of(self.root, self.cell.place, self.grid)

    @property
    def folder(self) -> Path:
        """Folder of its run."""
        return run_folder(self.root, self.cell)


@dataclass(frozen=True)
class CellData:
    """A dataset, and what the transform made of it for all cells. Args: `folder`: of both."""

    folder: Path

    @property
    def records(self) -> Path:
        """The dataset."""
        return self.folder / _RECORDS

    @property
    def transformed(self) -> Path:
        """The transformed data."""
        return self.folder / _TRANSFORMED

    def dataset(self) -> Dataset:
        """Returns what is known of the dataset."""
        return load_dataset(self.records)


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Args:
      name: of the table.
      cells_of: returns the cells of `(grid, folder)` that are known yet, what others need first: more may be known
        once these are done.
      run_cell: trains and measures a cell; a function of a module.
      figure: returns a figure of a result and its name, to be reported.
      head: returns what the results file holds of `(grid, data)` besides.
      leaves: name of a file that a cell which others need leaves in the folder of its run; None: none.
      tasks_per_worker: how many cells of `(grid, data)` a process runs before another takes its place.
    """

    name: str
    cells_of: Callable[[Any, Path], Sequence[Cell]]
    run_cell: Callable[[CellRun], dict[str, Any]]
    figure: Callable[[dict[str, Any]], str]
    head: Callable[[Any, CellData], dict[str, Any]] = lambda grid, data: {}
    leaves: str | None = None
    tasks_per_worker: Callable[[Any, CellData], int] = lambda grid, data: _TASKS_PER_WORKER

    @property
    def results_file(self) -> str:
        """Name of the file with all results."""
        return f"{self.name}.json"


def run_folder(root: Path, cell: Cell) -> Path:
    """Returns the folder of a cell's run."""
    return root / "work" / "runs" / cell.name


def data_of(root: Path, place: Place, grid: Grid) -> CellData:
    """Returns the data of a place; a dataset is the same for all places."""
    return CellData(root / "work" / "data" / (place.name if grid.is_simulated else "dataset"))


def run_table(
    table: Table,
    grid: Any,
    out: Path,
    data_dir: Path | None = None,
    complete: Any = None,
    workers: int | None = None,
    threads: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Runs the cells of a grid that have no result yet, and gathers all.

    Args:
      table: what is made.
      grid: what to run.
      out: folder of the results.
      data_dir: a dataset; None for simulated logs.
      complete: the grid of which `grid` is a part; all its cells that have a result are gathered. None: `grid`.
      workers: processes that work at once; None: as many as the cores have room for; 0: this process.
      threads: of each worker.
      say: receives lines for the user.

    Returns:
      What the results file holds.

    Raises:
      InputError: the grid is empty or does not fit the data, or `out` holds another one's results.
    """
    complete = complete or grid
    _check_source(table, grid, out, data_dir)
    _claim(out, {**grid.identity(), "dataset_sha256": None if data_dir is None else load_dataset(data_dir).sha256})
    workers = max(1, len(os.sched_getaffinity(0)) // threads) if workers is None else workers
    cells = table.cells_of(grid, out)
    left = _unfinished(table, cells, grid, out)
    say(f"{len(cells)} cells, {len(cells) - len(left)} of them done; {workers} workers of {threads} threads")
    if left and len({data_of(out, cell.place, grid) for cell in left}) == 1:
        _make_data(left[0].place, grid, out, data_dir, say)
    context = run_context(workers, threads)
    while left:
        done = _Recorder(table, left, grid, len(cells), out, context, say)
        tasks, needs = _tasks(table, left, grid, out)
        per_worker = table.tasks_per_worker(grid, data_of(out, left[0].place, grid))
        run_tasks(tasks, needs, _run_task, done, workers, threads, per_worker)
        cells = table.cells_of(grid, out)
        left = _unfinished(table, cells, grid, out)
    names = dict.fromkeys(cell.name for cell in (*cells, *table.cells_of(complete, out)))
    contexts, results = _gathered(out, names)
    head = table.head(complete, data_of(out, cells[0].place, grid))
    baselines = _baselines(cells, grid, out, say)
    gathered = {
        "grid": complete.model_dump(mode="json"), **head, "baselines": baselines, "contexts": contexts, "cells": results
    }  # fmt: skip
    write_results(out / table.results_file, gathered)
    return gathered


def _baselines(cells: Sequence[Cell], grid: Grid, root: Path, say: Say) -> dict[str, dict[str, Any]]:
    """Returns what simple models reach on each log, by its name; not on those of tuning and of other worlds."""
    from experiments.baselines import gathered

    left_out = getattr(grid, "tuning_seeds", ())
    places = dict.fromkeys(cell.place for cell in cells)
    usual = [place for place in places if place.variant in (DEFAULT, cells[0].place.variant)]
    data = {place.name: data_of(root, place, grid) for place in usual if place.seed not in left_out}
    if not grid.is_simulated:
        data = {"dataset": next(iter(data.values()))} if data else {}
    known = {name: (one.records, one.transformed) for name, one in data.items() if one.transformed.exists()}
    if not known:
        return {}
    say(f"baselines on {len(known)} logs")
    return gathered(root, known, grid.base_config(load_dataset(next(iter(known.values()))[0]).source))


def chosen_rate(cell: Any, grid: Any, root: Path) -> float:
    """Returns the learning rate of a cell: its own, or that of the tuning cells with the least mean `monitored` value.

    Args:
      cell: of the grid.
      grid: whose first learning rate counts where there was no tuning.
      root: the folder of the results.
    """
    if cell.learning_rate is not None:
        return float(cell.learning_rate)
    tried: dict[float, list[float]] = {}
    for needed in cell.needs(grid):
        result = json.loads(cell_file(root, needed.name).read_text())
        tried.setdefault(result["learning_rate"], []).append(result["monitored"])
    return min(tried, key=lambda rate: fmean(tried[rate])) if tried else float(grid.learning_rates[0])


def _check_source(table: Table, grid: Grid, out: Path, data_dir: Path | None) -> None:
    if not table.cells_of(grid, out):
        raise InputError("the grid", "no cell", "at least one method and one seed", "choose other parts or methods")
    source = SIMULATED if data_dir is None else load_dataset(data_dir).source
    if source != grid.source:
        where, received = ("--data", "nothing") if data_dir is None else (f"--data {data_dir}", repr(source))
        fix = "choose the grid of that source with --grid; leave --data out for simulated logs"
        raise InputError(where, received, f"a dataset of source {grid.source!r} for grid {grid.name}", fix)


def _claim(root: Path, identity: Mapping[str, Any]) -> None:
    """Makes a folder that of a grid.

    Raises:
      InputError: it is another's.
    """
    check_model_folder(root, "--out")
    file = root / GRID_FILE
    if file.is_file():
        present = json.loads(file.read_text())
        if different := [key for key in identity if present.get(key) != identity[key]]:
            received = f"results with {different[0]} {present.get(different[0])}"
            raise InputError(str(root), received, f"{identity[different[0]]}", "choose another --out")
        return
    if root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise InputError(str(root), "a folder in use", "a new or empty folder", "choose another --out")
    write_text(file, json.dumps(identity, indent=1) + "\n")


def _unfinished(table: Table, cells: Sequence[Cell], grid: Grid, root: Path) -> list[Cell]:
    """Returns the cells without a result, and those that they start from where what these leave is gone."""
    left = [cell for cell in cells if not _is_finished(cell, grid, root)]
    names = {cell.name for cell in left}
    if table.leaves is not None:
        needed = [each for cell in left for each in cell.needs(grid)]
        names |= {each.name for each in needed if not (run_folder(root, each) / table.leaves).is_file()}
    return [cell for cell in cells if cell.name in names]


def _is_finished(cell: Cell, grid: Grid, root: Path) -> bool:
    """Returns True if there is a result.

    Raises:
      InputError: it is that of another cell with the same name.
    """
    file = cell_file(root, cell.name)
    if not file.is_file():
        return False
    result = json.loads(file.read_text())
    for key, value in grid.facts(cell).items():
        present = {**result.get("settings", {}), **result}.get(key)
        if present != value:
            received, expected = (f"{key} {one}"[:60] for one in (present, value))
            raise InputError(str(file), f"a result with {received}", expected, "choose another --out")
    return True


def _tasks(
    table: Table, left: Sequence[Cell], grid: Grid, out: Path
) -> tuple[dict[str, tuple[Any, ...]], dict[str, list[str]]]:
    """Returns the tasks, and the names of those that each needs; a place's data comes just before its first cell."""
    tasks: dict[str, tuple[Any, ...]] = {}
    needs: dict[str, list[str]] = {}
    for cell in left:
        needs[cell.name] = [needed.name for needed in cell.needs(grid)]
        if not data_of(out, cell.place, grid).folder.exists():
            name = f"data of {cell.place.name}"
            tasks.setdefault(name, (None, cell.place, grid, out))
            needs[cell.name].append(name)
        tasks[cell.name] = (table.run_cell, cell, grid, out)
    return tasks, needs


def _run_task(
    run_cell: Callable[[CellRun], dict[str, Any]] | None, task: Any, grid: Grid, root: Path
) -> dict[str, Any] | None:
    """Trains a cell, or makes the data that cells share."""
    if run_cell is None:
        _make_data(task, grid, root)
        return None
    keras.backend.clear_session()
    started, cpu_started = time.perf_counter(), time.process_time()
    run = CellRun(task, grid, root)
    result = {"cell": task.name, **run_cell(run), "data_sha256": run.data.dataset().sha256}
    seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu_started}
    return {**result, **seconds}


def _make_data(place: Place, grid: Any, root: Path, data_dir: Path | None = None, say: Say = lambda _: None) -> None:
    """Simulates the log of a place, or takes a dataset, and transforms it for all cells."""
    from experiments.product import copy_records, transform_once

    data = data_of(root, place, grid)
    if data.folder.exists():
        return
    data.folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(data.folder) as temporary:
        unfinished = CellData(temporary)
        if data_dir is None:
            grid.simulate(unfinished.records, place)
        elif grid.most is not None:
            copy_records(data_dir, unfinished.records, grid.record, grid.most)
        else:
            unfinished.records.symlink_to(os.path.abspath(data_dir))
        say("transforming the data")
        config = grid.base_config(unfinished.dataset().source)
        transform_once(config, unfinished.records, unfinished.transformed)


def run_context(workers: int, threads: int) -> dict[str, Any]:
    """Returns what the cells of a run have in common."""
    return {
        "command": " ".join(["consort", *sys.argv[1:]]),
        "code_sha256": code_version(*_CODE),
        "workers": workers,
        "threads": threads,
        "machine": machine(),
    }


class _Recorder:
    """Writes each result as it comes, and reports how long the rest takes."""

    def __init__(
        self,
        table: Table,
        left: Sequence[Cell],
        grid: Grid,
        total: int,
        root: Path,
        context: dict[str, Any],
        say: Say,
    ):
        self._done, self._total, self._root, self._say = total - len(left), total, root, say
        self._context, self._figure = context, table.figure
        work = {cell.name: (cell.kind, cell.work(grid)) for cell in left}
        self._clock = TimeLeft(work, max(1, context["workers"]))

    def __call__(self, name: str, result: dict[str, Any] | None) -> None:
        if result is None:
            return
        context = {**self._context, "date": time.strftime("%Y-%m-%d")}
        write_text(cell_file(self._root, name), json.dumps({**result, "context": context}, indent=1) + "\n")
        self._done += 1
        self._clock.add(name, result["seconds"])
        text = f"[{self._done}/{self._total}] {name}: {self._figure(result)} in {result['seconds']:.0f} s"
        self._say(f"{text}; about {(self._clock.seconds or 0.0) / 60:.0f} min left")


def _gathered(root: Path, names: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns what cells were run in, each context once, and the results of those cells that have one."""
    contexts: list[dict[str, Any]] = []
    results = []
    for file in (cell_file(root, name) for name in names):
        if not file.is_file():
            continue
        result = json.loads(file.read_text())
        context = result.pop("context")
        # Where the folder lies is of no interest.
        context["command"] = context["command"].replace(str(root), root.name)
        if context not in contexts:
            contexts.append(context)
        results.append({**result, "context": contexts.index(context)})
    return contexts, results


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Writes one line a cell, so that files of two runs can be compared."""
    head = {key: value for key, value in results.items() if key != "cells"}
    lines = ",\n".join(json.dumps(cell) for cell in results["cells"])
    write_text(path, json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{lines}\n ]\n}}\n')
