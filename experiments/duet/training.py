"""Trains one cell of a grid as `consort train` does, and measures what it serves."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from experiments.duet.cells import Cell
from experiments.duet.grid import DuetGrid
from experiments.duet.measures import measured, of_pair
from experiments.duet.methods import Method, method_of
from experiments.grid_runner import SIMULATED, chosen_rate
from experiments.places import Place, data_folder
from experiments.product import run_config, score_peers, train, transform_once
from runs.config import RunConfig
from runs.evaluate import ScoredRequests
from transforms.features import Split
from transforms.files import new_directory
from transforms.records import Dataset, load_dataset

MONITORED = "logloss"
_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 256
_HISTORY = (
    "epoch", "loss", "logloss", "seconds", "eval_logloss", "eval_agreement", "eval_disagreement",
    "eval_prediction/unexposed", "eval_logloss/peer_0", "eval_logloss/peer_1",
)  # fmt: skip
_PRESETS = {"ebnerd": "ebnerd_duet"}
_SEEDS_OF_A_RUN = 10
_RECORDS, _TRANSFORMED = "records", "transformed"


def make_data(place: Place, grid: DuetGrid, root: Path) -> None:
    """Simulates the log of a place and transforms it."""
    from simulation.cascade_log import simulate

    folder, world = data_folder(root, place, simulated=True), grid.world_of(place.variant)
    if folder.exists() or world is None or grid.requests is None:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary:
        simulate(temporary / _RECORDS, world, grid.requests, place.seed)
        _transform(temporary, grid)


def use_dataset(folder: Path, data_dir: Path, grid: DuetGrid) -> None:
    """Transforms a dataset for all cells of a grid."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary:
        (temporary / _RECORDS).symlink_to(os.path.abspath(data_dir))
        _transform(temporary, grid)


def _transform(folder: Path, grid: DuetGrid) -> None:
    dataset = load_dataset(folder / _RECORDS)
    transform_once(_config(method_of("single"), dataset, grid, 1, 0.001), folder / _RECORDS, folder / _TRANSFORMED)


def run_task(task: Cell | Place, grid: DuetGrid, root: Path) -> dict[str, Any] | None:
    """Trains a cell, or makes the data that cells share."""
    if isinstance(task, Cell):
        return run_cell(task, grid, root)
    make_data(task, grid, root)
    return None


def run_cell(cell: Cell, grid: DuetGrid, root: Path) -> dict[str, Any]:
    """Trains a cell and measures what it serves on eval and test requests.

    Returns:
      Settings, metrics of what is served and of a pair's mean, the course of training.
    """
    keras.backend.clear_session()
    started, cpu_started = time.perf_counter(), time.process_time()
    data, run = data_folder(root, cell.place, grid.source == SIMULATED), root / "work" / "runs" / cell.name
    records, rate = load_dataset(data / _RECORDS), chosen_rate(cell, grid, root)
    config = _config(method_of(cell.method), records, grid, cell.place.seed, rate)
    task, trained = train(config, data / _RECORDS, run, data / _TRANSFORMED)
    best = int(trained.report.get("best_peer", 0))
    models = trained.models()
    metrics: dict[str, Any] = {}
    for split, scored in score_peers(task, models, data / _RECORDS, _SCORED, _SCORED_AT_ONCE).items():
        if scored.requests is not None:
            metrics[split] = _metrics(scored.requests, best)
    shutil.rmtree(run)
    world, result = grid.world_of(cell.place.variant), trained.result
    weights = [weight for model in models for weight in model.trainable_variables]
    return {
        "cell": cell.name,
        "variant": cell.place.variant,
        "seed": cell.place.seed,
        "method": cell.method,
        "tried": cell.learning_rate is not None,
        "learning_rate": rate,
        "served": f"peer_{best}",
        **metrics,
        "monitored": result.best[f"eval_{MONITORED}"],
        "best_epoch": result.best_epoch,
        "history": [{key: row[key] for key in _HISTORY if key in row} for row in result.history],
        "steps": result.steps,
        "parameters": int(sum(np.prod(weight.shape) for weight in weights)),
        "data_sha256": records.sha256,
        "world": None if world is None else world.model_dump(mode="json"),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


def _config(method: Method, dataset: Dataset, grid: DuetGrid, seed: int, rate: float) -> RunConfig:
    """The run file of a method: the grid's preset, its overrides, its sizes, and the recipe of the method."""
    outputs = {"outputs": method.outputs[0]} if method.outputs and method.outputs[0] > 1 else {}
    values: dict[str, Any] = {
        "name": grid.name,
        "source": dataset.source,
        "seed": _SEEDS_OF_A_RUN * seed,
        "model.name": method.model,
        "model.embedding_dim": grid.embedding_dim,
        "model.hidden_units": grid.hidden_units,
        "model.options": {**method.model_options, **outputs},
        "training.batch_size": grid.batch_size,
        "training.epochs": grid.epochs,
        "training.patience": grid.patience,
        "training.learning_rate": rate,
        "recipe.name": "single",
        "recipe.options": {},
    }
    if method.baseline:
        values |= {"recipe.name": "entire_space"}
        values |= {"recipe.options": {"method": method.baseline, "options": dict(method.options)}}
    elif method.pair is not None:
        greatest = grid.epochs * -(-dataset.records["request"]["train"].records // grid.batch_size)
        steps = {
            "warmup_steps": round(method.warmup * greatest),
            "consistency_steps": round(method.schedule_share * greatest),
        }
        options = {**method.pair, **steps, "shared_backbone": len(method.outputs) == 1}
        values |= {"recipe.name": "duet", "recipe.options": options}
    return run_config(grid.preset or _PRESETS.get(dataset.source, "simulated_duet"), grid.overrides, values)


def _metrics(requests: ScoredRequests, best: int) -> dict[str, Any]:
    """Metrics of the served peer, and of a pair's mean logit; the scores are logits of all peers."""
    peers = [requests.probability[..., peer] for peer in range(requests.probability.shape[-1])]
    metrics: dict[str, Any] = {"served": measured(peers[best], requests)}
    if len(peers) > 1:
        metrics["ensemble"] = measured((peers[0] + peers[1]) / 2, requests)
        metrics["pair"] = of_pair(peers[0], peers[1], requests)
    return metrics
