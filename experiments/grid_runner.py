"""Runs a grid: the data of each place once, each cell once, whatever is killed in between."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from experiments.folder import Recorder, cell_file, claim, gathered, run_context, worker_count
from experiments.places import Place, data_folder
from experiments.pool import run_tasks
from experiments.results_file import write_results
from transforms.errors import InputError

SIMULATED = "simulated"
_TASKS_PER_WORKER = 8


class Cell(Protocol):
    """One training, whose result is one file."""

    @property
    def place(self) -> Place:
        """Its data."""

    @property
    def name(self) -> str:
        """Of its file."""

    @property
    def method(self) -> str:
        """Cells of one method take about as long as each other."""

    @property
    def learning_rate(self) -> float | None:
        """That is tried; None: the one that tuning chose."""

    def needs(self, grid: Any) -> Sequence["Cell"]:
        """The cells by which its learning rate is chosen, which must be done before it."""


@dataclass(frozen=True)
class Table:
    """What a table does with a grid.

    Args:
      results_file: name of the file with all results.
      cells_of: the cells of a grid, what others need first.
      run_task: `(cell or place, grid, folder)`: gives a cell's result, or makes a place's data; of a module.
      save_dataset: `(folder, dataset, grid)`: writes a dataset's arrays.
      figure: a figure of a result and what it is, to be told.
    """

    results_file: str
    cells_of: Callable[[Any], Sequence[Cell]]
    run_task: Callable[..., Any]
    save_dataset: Callable[[Path, Path, Any], None]
    figure: Callable[[dict[str, Any]], str]


def run_table(
    table: Table,
    grid: Any,
    out: Path,
    data_dir: Path | None = None,
    whole: Any = None,
    workers: int | None = None,
    threads: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Runs the cells of a grid that have no result yet, and gathers all.

    Args:
      table: what is made.
      grid: what to run: has `name`, `source`, `identity` and `world_of`.
      out: gets `grid.json`, `cells/`, the results, and in `work/` the data.
      data_dir: a dataset; None for simulated logs.
      whole: of which `grid` is a part; what is gathered are all its cells that have a result.
      workers: processes that work at once; None: as many as the cores have room for; 0: this process.
      threads: of each worker.
      say: told what happens.

    Returns:
      What the results file holds.

    Raises:
      InputError: the grid is empty or does not fit the data, or `out` holds another one's results.
    """
    cells = _checked_cells(table, grid, data_dir)
    _claim(out, grid, data_dir)
    workers = worker_count(workers, threads)
    left = [cell for cell in cells if not _is_finished(cell, grid, out)]
    say(f"{len(cells)} cells, {len(cells) - len(left)} of them done; {workers} workers of {threads} threads")
    places = _missing_places(left, grid, out)
    if data_dir is not None and places:
        say("reading the dataset into arrays")
        table.save_dataset(_folder(out, places[0], grid), data_dir, grid)
        places = []
    recorder = Recorder(
        {cell.name: (cell.method, 1.0) for cell in left},
        len(cells), out, run_context(workers, threads), table.figure, say,
    )  # fmt: skip

    def done(name: str, result: dict[str, Any] | None) -> None:
        if result is not None:
            recorder(name, result)

    tasks, needs = _tasks(left, places, grid, out)
    run_tasks(tasks, needs, table.run_task, done, workers, threads, _TASKS_PER_WORKER)
    wanted = dict.fromkeys(cell.name for cell in (*cells, *table.cells_of(whole or grid)))
    contexts, found = gathered(out, wanted)
    results = {"grid": (whole or grid).model_dump(mode="json"), "contexts": contexts, "cells": found}
    write_results(out / table.results_file, results)
    return results


def chosen_rate(cell: Cell, grid: Any, root: Path) -> float:
    """The learning rate of a cell: its own, or that of the tuning cells with the least mean `monitored` eval value.

    Args:
      cell: of the grid.
      grid: whose first learning rate counts where there was no tuning.
      root: the folder of the results.
    """
    if cell.learning_rate is not None:
        return cell.learning_rate
    tried: dict[float, list[float]] = {}
    for needed in cell.needs(grid):
        result = json.loads(cell_file(root, needed.name).read_text())
        tried.setdefault(result["learning_rate"], []).append(result["monitored"])
    return min(tried, key=lambda rate: fmean(tried[rate])) if tried else float(grid.learning_rates[0])


def _folder(out: Path, place: Place, grid: Any) -> Path:
    return data_folder(out, place, grid.source == SIMULATED)


def _checked_cells(table: Table, grid: Any, data_dir: Path | None) -> Sequence[Cell]:
    cells = table.cells_of(grid)
    if not cells:
        raise InputError("the grid", "no cell", "at least one method and one seed", "choose other parts or methods")
    found = SIMULATED
    if data_dir is not None:
        from transforms.records import load_dataset

        found = load_dataset(data_dir).source
    if found != grid.source:
        where, received = ("--data", "nothing") if data_dir is None else (f"--data {data_dir}", repr(found))
        fix = "choose the grid of that source with --grid; leave --data out for simulated logs"
        raise InputError(where, received, f"a dataset of source {grid.source!r} for grid {grid.name}", fix)
    return cells


def _claim(out: Path, grid: Any, data_dir: Path | None) -> None:
    own = {**grid.identity(), "dataset_sha256": None}
    if data_dir is not None:
        from transforms.records import load_dataset

        own["dataset_sha256"] = load_dataset(data_dir).sha256
    claim(out, own)


def _is_finished(cell: Cell, grid: Any, out: Path) -> bool:
    """True if there is a result.

    Raises:
      InputError: it is of another world.
    """
    file = cell_file(out, cell.name)
    if not file.is_file():
        return False
    world = grid.world_of(cell.place.variant)
    expected = None if world is None else world.model_dump(mode="json")
    if json.loads(file.read_text())["world"] != expected:
        received = f"a result in another world of the name {cell.place.variant}"
        raise InputError(str(file), received, "the grid's", "choose another --out, or another name for the world")
    return True


def _missing_places(left: Sequence[Cell], grid: Any, out: Path) -> list[Place]:
    places = dict.fromkeys(cell.place for cell in left)
    return [place for place in places if not _folder(out, place, grid).exists()]


def _tasks(
    left: Sequence[Cell], places: list[Place], grid: Any, out: Path
) -> tuple[dict[str, tuple[Any, ...]], dict[str, list[str]]]:
    """What is to be done, and what each needs; the data of a place just before its first cell."""
    tasks: dict[str, tuple[Any, ...]] = {}
    needs: dict[str, list[str]] = {}
    for cell in left:
        needs[cell.name] = [needed.name for needed in cell.needs(grid)]
        if cell.place in places:
            name = f"data of {cell.place.name}"
            tasks.setdefault(name, (cell.place, grid, out))
            needs[cell.name].append(name)
        tasks[cell.name] = (cell, grid, out)
    return tasks, needs
