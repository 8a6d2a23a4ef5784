"""Runs a grid: the data once, each cell once, whatever is killed in between."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.folder import Recorder, cell_file, claim, gathered, run_context, worker_count
from experiments.mutual.cells import Cell, cells_of
from experiments.mutual.grid import RESULTS_FILE, SIMULATED, MutualGrid
from experiments.mutual.training import Place, prepare, run_cell
from experiments.pool import run_tasks
from experiments.results_file import write_results
from transforms.beam.transform_dataset import load_declaration, load_transform
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.records import Dataset
from transforms.vocabularies import table_sizes

_OVERHEAD_PEER_EPOCHS = 0.5
_KEPT_BYTES = 2 << 30


def place_of(root: Path, data_dir: Path | None = None) -> Place:
    """The folders of a grid's work below `root`; data that is simulated is part of it."""
    work = root / "work"
    return Place(data_dir or work / "data", work / "transformed", work / "runs")


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
      out: gets `grid.json`, `cells/`, `mutual.json`, and in `work/` the data and the runs of the pretrained peers.
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
    _claim(out, grid, data_dir)
    place = place_of(out, data_dir)
    dataset = prepare(grid, place, say)
    workers = worker_count(workers, threads)
    context = run_context(workers, threads)
    left = _unfinished(cells, grid, out, place)
    say(f"{len(cells)} cells, {len(cells) - len(left)} of them done; {workers} workers of {threads} threads")
    run_tasks(
        {cell.name: (cell, grid, place) for cell in left},
        {cell.name: [needed.name for needed in cell.needs()] for cell in left},
        run_cell,
        Recorder(
            {cell.name: (cell.model, cell.peer_epochs(grid) + _OVERHEAD_PEER_EPOCHS) for cell in left},
            len(cells),
            out,
            context,
            _figure,
            say,
        ),
        workers,
        threads,
        _tasks_per_worker(grid, place),
    )
    wanted = dict.fromkeys((*cells, *cells_of(whole or grid)))
    results = _gathered(list(wanted), whole or grid, out, place, dataset)
    write_results(out / RESULTS_FILE, results)
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


def _claim(root: Path, grid: MutualGrid, data_dir: Path | None) -> None:
    """Makes the folder this grid's own, or refuses if it is another's."""
    own = {**grid.identity(), "dataset_sha256": None}
    if data_dir is not None:
        from transforms.records import load_dataset

        own["dataset_sha256"] = load_dataset(data_dir).sha256
    claim(root, own)


def _unfinished(cells: list[Cell], grid: MutualGrid, root: Path, place: Place) -> list[Cell]:
    """Cells without a result, and the pretraining that they start from if its run is gone."""
    left = [cell for cell in cells if not _is_finished(cell, grid, root)]
    again = [needed for cell in left for needed in cell.needs() if not place.is_trained(needed)]
    chosen = {cell.name for cell in (*left, *again)}
    return [cell for cell in cells if cell.name in chosen]


def _is_finished(cell: Cell, grid: MutualGrid, root: Path) -> bool:
    """True if there is a result.

    Raises:
      InputError: it was fitted in another way.
    """
    file = cell_file(root, cell.name)
    if not file.is_file():
        return False
    found = json.loads(file.read_text())["settings"]
    for key, value in cell.phase(grid).model_dump(mode="json").items():
        if found[key] != value:
            raise InputError(str(file), f"a result with {key} {found[key]}", f"{key} {value}", "choose another --out")
    return True


def _figure(result: dict[str, Any]) -> str:
    return f"test AUC {statistics.fmean(peer['auc'] for peer in result['test']['peers']):.5f}"


def _ids(grid: MutualGrid, place: Place) -> int:
    """Ids of all vocabularies."""
    return sum(table_sizes(load_declaration(place.transformed), load_transform(place.transformed)).values())


def _tasks_per_worker(grid: MutualGrid, place: Place) -> int:
    """Few where the tables are large, so that what TensorFlow keeps of them stays small."""
    weights_and_moments = 3 * 4 * _ids(grid, place) * (grid.embedding_dim + 1) * grid.peers
    return max(1, min(12, _KEPT_BYTES // weights_and_moments))


def _gathered(cells: list[Cell], grid: MutualGrid, root: Path, place: Place, dataset: Dataset) -> dict[str, Any]:
    """All results in one; what many cells were run in stands once."""
    contexts, results = gathered(root, [cell.name for cell in cells])
    splits = {}
    for split in SPLITS:
        info = dataset.records["row"][split]
        notes = dataset.notes.get("row", {}).get(split, {})
        oracle = {key: notes[f"oracle_{key}"] for key in ("auc", "logloss") if f"oracle_{key}" in notes}
        splits[split] = {"rows": info.records, "click_rate": info.positives / info.records, "oracle": oracle}
    simulated = {"rows": grid.rows, "seed": grid.seed} if grid.source == SIMULATED else {}
    imported = {} if grid.source == SIMULATED else {"dataset_sha256": dataset.sha256, "origin": dataset.origin}
    data = {"source": grid.source, **simulated, **imported, "sha256": dataset.sha256}
    counts = {
        "fields": len(load_declaration(place.transformed).model_inputs("row")), "ids": _ids(grid, place)
    }  # fmt: skip
    return {
        "grid": grid.model_dump(mode="json"),
        "data": {**data, **counts, "splits": splits},
        "contexts": contexts,
        "cells": results,
    }
