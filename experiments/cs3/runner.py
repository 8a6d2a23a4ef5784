"""Runs a grid of CS3."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.cs3.cells import Cell, cells_of, tuning_cells
from experiments.cs3.grid import RESULTS_FILE, CS3Grid
from experiments.cs3.methods import FROZEN
from experiments.cs3.training import run_task
from experiments.folder import cell_file
from experiments.grid_runner import Table, run_table


def run_grid(
    grid: CS3Grid,
    out: Path,
    data_dir: Path | None = None,
    whole: CS3Grid | None = None,
    workers: int | None = None,
    threads: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Runs the cells of a grid that have no result yet, and gathers all; see `run_table`.

    First learning rates are chosen, in as many rounds as it takes until none of them is an end of those tried.

    Args:
      grid: what to run.
      out: gets `grid.json`, `cells/`, `cs3.json`, and in `work/` the data.
      data_dir: a dataset of rows; None for simulated logs.
      whole: of which `grid` is a part.
      workers, threads, say: as `run_table` has them.
    """
    table = Table(RESULTS_FILE, lambda own: cells_of(own, out), run_task, _save_dataset, _figure)
    tuning = replace(table, cells_of=lambda own: tuning_cells(own, out))
    while _has_left(tuning_cells(grid, out), out):
        say("learning rates: a round of tuning")
        run_table(tuning, grid, out, data_dir, whole, workers, threads, say)
    return run_table(table, grid, out, data_dir, whole, workers, threads, say)


def _has_left(cells: list[Cell], out: Path) -> bool:
    return not all(cell_file(out, cell.name).is_file() for cell in cells)


def _save_dataset(folder: Path, data_dir: Path, grid: CS3Grid) -> None:
    from experiments.cs3.dataset import dataset_data
    from experiments.cs3.stream import save_data

    save_data(folder, dataset_data(data_dir, grid.rows))


def _figure(result: dict[str, Any]) -> str:
    if result["tried"]:
        return f"eval log loss {result['monitored']:.5f}"
    return f"test auc {result['test'][FROZEN]['auc']:.4f}, as it trained {result['train']['auc']:.4f}"
