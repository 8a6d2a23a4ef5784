"""Runs a grid of DUET."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.duet.cells import cells_of
from experiments.duet.grid import RESULTS_FILE, DuetGrid
from experiments.duet.training import run_task, use_dataset
from experiments.grid_runner import Table, run_table


def run_grid(
    grid: DuetGrid,
    out: Path,
    data_dir: Path | None = None,
    whole: DuetGrid | None = None,
    workers: int | None = None,
    threads: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Runs the cells of a grid that have no result yet, and gathers all; see `run_table`.

    Args:
      grid: what to run.
      out: gets `grid.json`, `cells/`, `duet.json`, and in `work/` the data.
      data_dir: a dataset of requests; None for simulated logs.
      whole: of which `grid` is a part.
      workers, threads, say: as `run_table` has them.
    """
    table = Table(RESULTS_FILE, cells_of, run_task, use_dataset, _figure)
    return run_table(table, grid, out, data_dir, whole, workers, threads, say)


def _figure(result: dict[str, Any]) -> str:
    test = result["test"]["served"]
    key = "auc_unexposed" if "auc_unexposed" in test else "auc"
    return f"test {key} {test[key]:.4f}, epoch {result['best_epoch']}"
