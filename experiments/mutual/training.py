"""Trains one cell of a grid as `consort train` does, and measures all its peers as `consort evaluate` does."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from evaluation.pointwise import auc, logloss
from experiments.mutual.cells import ARMS, Cell, order_seed, peer_seed
from experiments.mutual.grid import SIMULATED, MutualGrid
from experiments.product import run_config, score_peers, sigmoid, train, transform_once
from models.cotraining.base import Trained
from runs.config import RunConfig
from runs.data import Task
from runs.evaluate import TRUTH
from transforms.errors import InputError
from transforms.features import Shape, Split
from transforms.files import replacing_file
from transforms.records import Dataset, load_dataset

_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 20_000
_HISTORY = ("epoch", "loss", "logloss", "eval_logloss", "eval_auc")
_PRESETS = {SIMULATED: "simulated_ctr_deepfm", "criteo": "criteo_deepfm", "avazu": "avazu_deepfm"}
_SCORES = "scores.npz"


@dataclasses.dataclass(frozen=True)
class Place:
    """The folders of a grid's work.

    Args:
      data: a dataset of rows.
      transformed: the dataset, transformed once for all cells.
      runs: the runs of the cells.
    """

    data: Path
    transformed: Path
    runs: Path

    def run_of(self, cell: Cell) -> Path:
        """The folder of a cell's run."""
        return self.runs / cell.name

    def is_trained(self, cell: Cell) -> bool:
        """True if the run of a pretrained peer is there to start from."""
        return (self.run_of(cell) / _SCORES).is_file()


def prepare(grid: MutualGrid, place: Place, say: Callable[[str], None]) -> Dataset:
    """Simulates the data if the grid says so, and transforms it once for all cells, unless an earlier start did so.

    Raises:
      InputError: the data does not fit the grid, is damaged, or has features with several values a row.
    """
    if grid.source == SIMULATED and not place.data.exists() and grid.world is not None and grid.rows is not None:
        from simulation.ctr_log import simulate

        say(f"simulating {grid.rows:,} rows")
        simulate(place.data, grid.world, grid.rows, grid.seed)
    dataset = load_dataset(place.data)
    if not place.transformed.exists():
        inputs = dataset.feature_set.model_inputs("row")
        if lists := [item.name for item in inputs if item.shape is not Shape.SCALAR]:
            where, fix = f"--data {place.data}", "take a dataset of Criteo or Avazu"
            raise InputError(where, f"lists: {', '.join(lists)}", "features with one value a row", fix)
        say("transforming the data")
        transform_once(grid_config(grid, {}), place.data, place.transformed)
    return dataset


def grid_config(grid: MutualGrid, values: dict[str, Any]) -> RunConfig:
    """The run file of a cell: the grid's preset, its overrides, its sizes, and the values of the cell."""
    sizes = {
        "name": grid.name,
        "model.embedding_dim": grid.embedding_dim,
        "model.hidden_units": grid.hidden_units,
        "training.batch_size": grid.batch_size,
        "training.embedding_l2": grid.embedding_l2,
        "training.precision": grid.precision,
    }
    return run_config(grid.preset or _PRESETS.get(grid.source, grid.source), grid.overrides, {**sizes, **values})


def cell_config(cell: Cell, grid: MutualGrid, place: Place) -> RunConfig:
    """The run file of a cell that trains."""
    arm, phase = ARMS[cell.arm], cell.phase(grid).model_dump()
    models = [member.model for member in cell.members]
    values: dict[str, Any] = {"seed": order_seed(grid, cell.group), "model.name": models[0]}
    if cell.is_independent:
        values["seed"] = peer_seed(grid, cell.group, cell.members[0].number)
        return grid_config(grid, {**values, "recipe.name": "single", "recipe.options": {}, **_training(phase)})
    options = {
        "models": models,
        "mutual_weight": arm.mutual_weight,
        "loss": arm.loss,
        "stop_gradient": arm.stop_gradient,
    }
    if arm.pretrained:
        options |= {**phase, "pretrained": [str(place.run_of(needed)) for needed in cell.needs()]}
        phase = grid.pretraining.model_dump()
    else:
        options |= {"from_scratch": True}
    return grid_config(
        grid, {**values, "recipe.name": "mutual_learning", "recipe.options": options, **_training(phase)}
    )


def _training(phase: dict[str, Any]) -> dict[str, Any]:
    return {f"training.{key}": value for key, value in phase.items()} | {"training.patience": None}


def run_cell(cell: Cell, grid: MutualGrid, place: Place) -> dict[str, Any]:
    """Trains a cell, continuing from its last checkpoint if there is one, and measures it on eval and test rows.

    Returns:
      Seeds, settings, metrics of each peer and of the mean of their predictions, the course of training.
    """
    keras.backend.clear_session()
    started, cpu_started = time.perf_counter(), time.process_time()
    arm, run = ARMS[cell.arm], place.run_of(cell)
    course: dict[str, Any] = {"steps": 0, "best_epoch": None, "history": []}
    if arm.trains:
        task, trained = train(cell_config(cell, grid, place), place.data, run, place.transformed)
        scored = _scored(task, trained, place.data)
        result = trained.result
        history = [{key: row[key] for key in _HISTORY if key in row} for row in result.history]
        course = {"steps": result.steps, "best_epoch": result.best_epoch, "history": history}
        if cell.is_independent:
            _save_scores(run, scored)
        else:
            shutil.rmtree(run)
    else:
        scored = _mean_scores([place.run_of(needed) for needed in cell.needs()])
    return {
        "cell": cell.name,
        "model": cell.model,
        "group": cell.group,
        "arm": cell.arm,
        "peers": [{"model": member.model, "number": member.number} for member in cell.members],
        "seeds": {
            "peers": [peer_seed(grid, cell.group, member.number) for member in cell.members],
            "order": peer_seed(grid, cell.group, cell.members[0].number)
            if cell.is_independent
            else order_seed(grid, cell.group),
        },
        "settings": {**dataclasses.asdict(arm), **cell.phase(grid).model_dump(mode="json")},
        **{split: figures(*each) for split, each in scored.items()},
        **course,
        "data_sha256": load_dataset(place.data).sha256,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


_Scores = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Probabilities `[N, K]`, labels `[N]`, and true probabilities `[N]` where they are known."""


def _scored(task: Task, trained: Trained, data_dir: Path) -> dict[Split, _Scores]:
    """Scores eval and test rows with all peers of a run."""
    return {
        split: (sigmoid(scored.probability), scored.label, scored.extra.get(TRUTH))
        for split, scored in score_peers(task, trained.models(), data_dir, _SCORED, _SCORED_AT_ONCE).items()
    }


def _save_scores(run: Path, scored: dict[Split, _Scores]) -> None:
    """Keeps the scores of a pretrained peer, which also mark its run as finished."""
    arrays = {
        f"{split}.{name}": values
        for split, each in scored.items()
        for name, values in zip(("probability", "label", "truth"), each, strict=True)
        if values is not None
    }
    with replacing_file(run / _SCORES) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def _mean_scores(runs: Sequence[Path]) -> dict[Split, _Scores]:
    """Scores of pretrained peers, side by side."""
    loaded = [np.load(run / _SCORES) for run in runs]
    return {
        split: (
            np.concatenate([arrays[f"{split}.probability"] for arrays in loaded], axis=1),
            loaded[0][f"{split}.label"],
            loaded[0].get(f"{split}.truth"),
        )
        for split in _SCORED
    }


def figures(probabilities: np.ndarray, label: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    """Exact AUC and log loss of each peer, and of the mean of their probabilities.

    Args:
      probabilities: `[N, K]`.
      label: `[N]`.
      truth: probability of a click, `[N]`; None where it is not known.
    """
    peers = [_metrics(probabilities[:, peer], label, truth) for peer in range(probabilities.shape[1])]
    mean = {"mean_of_peers": _metrics(probabilities.mean(axis=1), label, truth)} if len(peers) > 1 else {}
    return {"peers": peers, **mean}


def _metrics(probability: np.ndarray, label: np.ndarray, truth: np.ndarray | None) -> dict[str, float | None]:
    metrics = {"auc": auc(label, probability), "logloss": logloss(label, probability)}
    # What these scores have on labels drawn anew, on average.
    return metrics if truth is None else {**metrics, "expected_auc": auc(truth, probability)}
