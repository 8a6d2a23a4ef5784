"""Trains one cell of a grid as `consort train` does, and measures all its peers as `consort evaluate` does."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.pointwise import auc, logloss
from experiments.mutual.cells import ARMS, cells_of, order_seed, peer_seed
from experiments.mutual.grid import MutualGrid
from experiments.product import score_peers, sigmoid, train
from experiments.runner import CellData, CellRun, Table, run_folder
from models.cotraining.base import Trained
from runs.config import RunConfig
from runs.data import Task
from runs.evaluate import TRUTH
from transforms.beam.transform_dataset import load_declaration, load_transform
from transforms.features import SPLITS, Split
from transforms.files import replacing_file
from transforms.vocabularies import table_sizes

_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 20_000
_HISTORY = ("epoch", "loss", "logloss", "eval_logloss", "eval_auc")
_SCORES = "scores.npz"
_KEPT_BYTES = 2 << 30


def cell_config(run: CellRun) -> RunConfig:
    """Returns the run file of a cell that trains."""
    cell, grid, source = run.cell, run.grid, run.data.dataset().source
    arm, phase = ARMS[cell.arm], cell.phase(grid).model_dump()
    models = [member.model for member in cell.members]
    seed, recipe, options = order_seed(grid, cell.group), "mutual_learning", dict[str, Any]()
    if cell.is_independent:
        seed, recipe = peer_seed(grid, cell.group, cell.members[0].number), "single"
    else:
        options = {
            "models": models,
            "mutual_weight": arm.mutual_weight,
            "loss": arm.loss,
            "stop_gradient": arm.stop_gradient,
        }
        if arm.pretrained:
            starts = [str(run_folder(run.root, needed)) for needed in cell.needs(grid)]
            options, phase = {**options, **phase, "pretrained": starts}, grid.pretraining.model_dump()
        else:
            options["from_scratch"] = True
    training = {f"training.{key}": value for key, value in phase.items()} | {"training.patience": None}
    values = {"seed": seed, "model.name": models[0], "recipe.name": recipe, "recipe.options": options}
    return grid.config(source, {**values, **training})


def run_cell(run: CellRun) -> dict[str, Any]:
    """Trains a cell, continuing from its last checkpoint if there is one, and measures it on eval and test rows.

    Returns:
      Seeds, settings, metrics of each peer and of the mean of their predictions, the course of training.
    """
    cell, grid = run.cell, run.grid
    arm = ARMS[cell.arm]
    course: dict[str, Any] = {"steps": 0, "best_epoch": None, "history": []}
    if arm.trains:
        task, trained = train(cell_config(run), run.data.records, run.folder, run.data.transformed)
        scored = _scored(task, trained, run.data.records)
        result = trained.result
        history = [{key: row[key] for key in _HISTORY if key in row} for row in result.history]
        course = {"steps": result.steps, "best_epoch": result.best_epoch, "history": history}
        if cell.is_independent:
            _save_scores(run.folder, scored)
        else:
            shutil.rmtree(run.folder)
    else:
        scored = _mean_scores([run_folder(run.root, needed) for needed in cell.needs(grid)])
    seeds = [peer_seed(grid, cell.group, member.number) for member in cell.members]
    return {
        "model": cell.model,
        "group": cell.group,
        "arm": cell.arm,
        "peers": [{"model": member.model, "number": member.number} for member in cell.members],
        "seeds": {"peers": seeds, "order": seeds[0] if cell.is_independent else order_seed(grid, cell.group)},
        "settings": {**dataclasses.asdict(arm), **cell.phase(grid).model_dump(mode="json")},
        **{split: figures(*each) for split, each in scored.items()},
        **course,
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
    """Returns the exact AUC and log loss of each peer, and of the mean of their probabilities.

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


def _figure(result: dict[str, Any]) -> str:
    return f"test AUC {np.mean([peer['auc'] for peer in result['test']['peers']]):.5f}"


def _ids(data: CellData) -> int:
    """Ids of all vocabularies."""
    return sum(table_sizes(load_declaration(data.transformed), load_transform(data.transformed)).values())


def _tasks_per_worker(grid: MutualGrid, data: CellData) -> int:
    """Few where the tables are large, so that what TensorFlow keeps of them stays small."""
    weights_and_moments = 3 * 4 * _ids(data) * (grid.embedding_dim + 1) * grid.peers
    return max(1, min(12, _KEPT_BYTES // weights_and_moments))


def _head(grid: MutualGrid, data: CellData) -> dict[str, Any]:
    """Description of the data."""
    dataset, splits = data.dataset(), {}
    for split in SPLITS:
        info, notes = dataset.records["row"][split], dataset.notes.get("row", {}).get(split, {})
        oracle = {key: notes[f"oracle_{key}"] for key in ("auc", "logloss") if f"oracle_{key}" in notes}
        splits[split] = {"rows": info.records, "click_rate": info.positives / info.records, "oracle": oracle}
    origin: dict[str, Any] = {"dataset_sha256": dataset.sha256, "origin": dataset.origin}
    return {
        "data": {
            "source": grid.source,
            **({"rows": grid.rows, "seed": grid.seed} if grid.is_simulated else origin),
            "sha256": dataset.sha256,
            "fields": len(load_declaration(data.transformed).model_inputs("row")),
            "ids": _ids(data),
            "splits": splits,
        }
    }


TABLE = Table("mutual", cells_of, run_cell, _figure, _head, leaves=_SCORES, tasks_per_worker=_tasks_per_worker)
