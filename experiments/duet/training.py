"""Trains one cell of a grid and measures it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from experiments.duet.building import Built, build
from experiments.duet.cells import Cell
from experiments.duet.grid import DuetGrid
from experiments.duet.measures import measured, of_pair
from experiments.duet.methods import method_of
from experiments.duet.requests import Data, Requests
from experiments.duet.storage import load_data, save_data
from experiments.grid_runner import SIMULATED, chosen_rate
from experiments.places import Place
from models.training.compiling import compile_model
from transforms.errors import InputError
from transforms.features import Split

MONITORED = "logloss"
_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 256
_OF_TRAINING = ("loss", "logloss")
_OF_EVAL = ("logloss", "agreement", "disagreement", "prediction/unexposed", "logloss/peer_0", "logloss/peer_1")
Logits = dict[str, np.ndarray]


def data_folder(root: Path, place: Place, grid: DuetGrid) -> Path:
    """Where the arrays of a place lie; those of a dataset are the same for all seeds."""
    return root / "work" / "data" / (place.name if grid.source == SIMULATED else "dataset")


def make_data(place: Place, grid: DuetGrid, root: Path) -> None:
    """Simulates the log of a place."""
    from experiments.duet.simulated import simulated_data

    folder = data_folder(root, place, grid)
    world = grid.world_of(place.variant)
    if folder.exists() or world is None or grid.requests is None:
        return
    save_data(folder, simulated_data(world, grid.requests, place.seed))


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
    data, sha256 = load_data(data_folder(root, cell.place, grid))
    rate = chosen_rate(cell, grid, root)
    built = build(method_of(cell.method), data, grid, cell.place.seed)
    compile_model(built.model, rate)
    course = _train(built, data, grid, cell.place.seed)
    served = min(built.candidates, key=lambda name: course.best.get(f"eval_logloss/{name}", 0.0))
    found: dict[str, Any] = {
        split: _figures(course.logits[split], built.candidates, served, data.splits[split]) for split in _SCORED
    }
    world = grid.world_of(cell.place.variant)
    return {
        "cell": cell.name,
        "variant": cell.place.variant,
        "seed": cell.place.seed,
        "method": cell.method,
        "tried": cell.learning_rate is not None,
        "learning_rate": rate,
        "served": served,
        **found,
        "monitored": course.best[f"eval_{MONITORED}"],
        "best_epoch": int(course.best["epoch"]),
        "history": course.history,
        "steps": course.steps,
        "parameters": int(sum(np.prod(weight.shape) for weight in built.model.trainable_variables)),
        "data_sha256": sha256,
        "world": None if world is None else world.model_dump(mode="json"),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


@dataclass
class _Course:
    """How training went; the logits are those of the best epoch."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    logits: dict[Split, Logits] = field(default_factory=dict)
    steps: int = 0


def _train(built: Built, data: Data, grid: DuetGrid, seed: int) -> _Course:
    model, course = built.model, _Course()
    step, test = (
        tf.function(own, reduce_retracing=True, autograph=False) for own in (model.train_step, model.test_step)
    )
    score, train = _scorer(built), data.splits["train"]
    for epoch in range(1, grid.epochs + 1):
        started = time.perf_counter()
        model.reset_metrics()
        logs: Mapping[str, Any] = {}
        for batch in train.batches(
            data.inputs, grid.batch_size, np.random.default_rng([seed, epoch]).permutation(len(train))
        ):
            logs = step(batch)
            course.steps += 1
        row = {"epoch": float(epoch), **_numbers(logs, _OF_TRAINING, "")}
        model.reset_metrics()
        for batch in data.splits["eval"].batches(data.inputs, _SCORED_AT_ONCE):
            logs = test(batch)
        row |= _numbers(logs, _OF_EVAL, "eval_")
        course.history.append({**row, "seconds": time.perf_counter() - started})
        _check(row)
        if not course.best or row[f"eval_{MONITORED}"] < course.best[f"eval_{MONITORED}"]:
            course.best = row
            course.logits = {split: _logits(score, data, split) for split in _SCORED}
        elif epoch - course.best["epoch"] >= grid.patience:
            break
    return course


def _numbers(logs: Mapping[str, Any], names: tuple[str, ...], prefix: str) -> dict[str, float]:
    return {f"{prefix}{name}": float(logs[name]) for name in names if name in logs}


def _check(row: Mapping[str, float]) -> None:
    if not all(np.isfinite(value) for value in row.values()):
        received = f"eval {MONITORED} {row[f'eval_{MONITORED}']} in epoch {row['epoch']:.0f}"
        raise InputError("training", received, "a finite loss", "leave out the greatest learning_rates")


def _scorer(built: Built) -> Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]:
    """Gives the logits of what may be served; made once, as tracing takes longer than many steps."""

    @tf.function(reduce_retracing=True, autograph=False)
    def outputs(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = built.model(features, training=False)
        chosen = found if isinstance(found, dict) else {"peer_0": found}
        return {name: chosen[name] for name in built.candidates}

    return outputs


def _logits(score: Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]], data: Data, split: Split) -> Logits:
    parts = [score(features) for features, _, _ in data.splits[split].batches(data.inputs, _SCORED_AT_ONCE)]
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def _figures(logits: Logits, names: tuple[str, ...], served: str, requests: Requests) -> dict[str, Any]:
    found: dict[str, Any] = {"served": measured(logits[served], requests)}
    if len(names) > 1:
        one, other = (logits[name] for name in names)
        found["ensemble"] = measured((one + other) / 2, requests)
        found["pair"] = of_pair(one, other, requests)
    return found
