"""Runs a grid: the data once, each cell once, whatever is killed in between."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.arrays import dataset_arrays, load_arrays, simulated_arrays
from experiments.folder import Recorder, cell_file, claim, gathered, run_context, worker_count
from experiments.mutual.cells import Cell, cells_of
from experiments.mutual.grid import RESULTS_FILE, SIMULATED, MutualGrid
from experiments.mutual.training import Place, oracle, run_cell
from experiments.pool import run_tasks
from experiments.results_file import write_results
from transforms.errors import InputError

_OVERHEAD_PEER_EPOCHS = 0.5
_KEPT_BYTES = 2 << 30


@dataclass(frozen=True)
class Folders:
    """Where the parts of a grid's output lie.

    Args:
      root: what the user named.
    """

    root: Path

    @property
    def place(self) -> Place:
        """What is not needed once all is done."""
        work = self.root / "work"
        return Place(work / "arrays", work / "weights", work / "checkpoints")

    def result_of(self, cell: Cell) -> Path:
        """The file of a cell's result."""
        return cell_file(self.root, cell.name)

    @property
    def results(self) -> Path:
        """All cells' results in one file."""
        return self.root / RESULTS_FILE


def run_grid(
    grid: MutualGrid,
    out: Path,
    data_dir: Path | None = None,
    whole: MutualGrid | None = None,
    workers: int | None = None,
    threads: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Runs the cells of a grid that have no result yet, and gathers all.

    Args:
      grid: what to run.
      out: gets `grid.json`, `cells/`, `mutual.json`, and in `work/` the data and the pretrained weights.
      data_dir: a dataset; None for a simulated one.
      whole: of which `grid` is a part; what is gathered are all its cells that have a result.
      workers: processes that work at once; None: as many as the cores have room for; 0: this process.
      threads: of each worker.
      say: told what happens.

    Returns:
      What `mutual.json` holds.

    Raises:
      InputError: the grid is empty or does not fit the data, or `out` holds another one's results.
    """
    cells = _checked_cells(grid, data_dir)
    folders = Folders(out)
    _claim(folders, grid, data_dir)
    arrays = folders.place.arrays
    if not arrays.exists():
        _make_arrays(grid, data_dir, arrays, say)
    workers = worker_count(workers, threads)
    context = run_context(workers, threads)
    left = _unfinished(cells, grid, folders)
    say(f"{len(cells)} cells, {len(cells) - len(left)} of them done; {workers} workers of {threads} threads")
    run_tasks(
        {cell.name: (cell, grid, folders.place) for cell in left},
        {cell.name: [needed.name for needed in cell.needs()] for cell in left},
        run_cell,
        Recorder(
            {cell.name: (cell.model, cell.peer_epochs(grid) + _OVERHEAD_PEER_EPOCHS) for cell in left},
            len(cells),
            folders.root,
            context,
            _figure,
            say,
        ),
        workers,
        threads,
        _tasks_per_worker(grid, arrays),
    )
    wanted = dict.fromkeys((*cells, *cells_of(whole or grid)))
    results = _gathered(list(wanted), whole or grid, folders)
    write_results(folders.results, results)
    return results


def _checked_cells(grid: MutualGrid, data_dir: Path | None) -> list[Cell]:
    cells = cells_of(grid)
    if not cells:
        raise InputError("the grid", "no cell", "at least one model and one group", "choose other parts or models")
    if data_dir is None:
        if grid.source != SIMULATED:
            fix = f"give --data, a dataset of `consort data import {grid.source}`"
            raise InputError(f"grid {grid.name}", "no data", f"a dataset of source {grid.source!r}", fix)
        return cells
    from transforms.records import load_dataset

    found = load_dataset(data_dir).source
    if found != grid.source:
        fix = "choose the grid of that source with --grid, or leave --data out for a simulated log"
        raise InputError(f"--data {data_dir}", f"a dataset of source {found!r}", repr(grid.source), fix)
    return cells


def _claim(folders: Folders, grid: MutualGrid, data_dir: Path | None) -> None:
    """Makes the folder this grid's own, or refuses if it is another's."""
    own = {**grid.identity(), "dataset_sha256": None}
    if data_dir is not None:
        from transforms.records import load_dataset

        own["dataset_sha256"] = load_dataset(data_dir).sha256
    claim(folders.root, own)


def _make_arrays(grid: MutualGrid, data_dir: Path | None, folder: Path, say: Callable[[str], None]) -> None:
    if data_dir is not None:
        dataset_arrays(folder, data_dir, say)
    elif grid.world is not None and grid.rows is not None:
        say(f"simulating {grid.rows:,} rows")
        simulated_arrays(folder, grid.world, grid.rows, grid.seed)


def _unfinished(cells: list[Cell], grid: MutualGrid, folders: Folders) -> list[Cell]:
    """Cells without a result, and the pretraining that they start from if its weights are gone."""
    left = [cell for cell in cells if not _is_finished(cell, grid, folders)]
    again = [needed for cell in left for needed in cell.needs() if not folders.place.weights_of(needed).is_file()]
    chosen = {cell.name for cell in (*left, *again)}
    return [cell for cell in cells if cell.name in chosen]


def _is_finished(cell: Cell, grid: MutualGrid, folders: Folders) -> bool:
    """True if there is a result.

    Raises:
      InputError: it was fitted in another way.
    """
    file = folders.result_of(cell)
    if not file.is_file():
        return False
    found = json.loads(file.read_text())["settings"]
    for key, value in cell.phase(grid).model_dump(mode="json").items():
        if found[key] != value:
            raise InputError(str(file), f"a result with {key} {found[key]}", f"{key} {value}", "choose another --out")
    return True


def _figure(result: dict[str, Any]) -> str:
    return f"test AUC {statistics.fmean(peer['auc'] for peer in result['test']['peers']):.5f}"


def _tasks_per_worker(grid: MutualGrid, folder: Path) -> int:
    """Few where the tables are large, so that what TensorFlow keeps of them stays small."""
    ids = sum(load_arrays(folder).table_sizes.values())
    weights_and_moments = 3 * 4 * ids * (grid.embedding_dim + 1) * grid.peers
    return max(1, min(12, _KEPT_BYTES // weights_and_moments))


def _gathered(cells: list[Cell], grid: MutualGrid, folders: Folders) -> dict[str, Any]:
    """All results in one; what many cells were run in stands once."""
    arrays = load_arrays(folders.place.arrays)
    contexts, found = gathered(folders.root, [cell.name for cell in cells])
    splits = {
        split: {"rows": len(rows), "click_rate": float(rows.label.mean(dtype=np.float64)), "oracle": oracle(rows)}
        for split, rows in arrays.splits.items()
    }
    fields = {"fields": len(arrays.inputs), "ids": sum(arrays.table_sizes.values())}
    return {
        "grid": grid.model_dump(mode="json"),
        "data": {**arrays.about, "sha256": arrays.sha256, **fields, "splits": splits},
        "contexts": contexts,
        "cells": found,
    }
