"""Trains one cell of a grid in one pass over its stream, and measures it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from experiments.cs3.building import OF_RANKER, TOWERS, WatchedCS3, build
from experiments.cs3.catalogue import catalogue_recalls
from experiments.cs3.cells import Cell
from experiments.cs3.grid import CS3Grid
from experiments.cs3.measures import cold_masks, course, distinct_in_batch, measured, of_one
from experiments.cs3.methods import FROZEN, MODES, ONLINE, PREQUENTIAL, RECALL, method_of
from experiments.cs3.stream import Data, Stream, load_data, save_data, shuffled
from experiments.grid_runner import SIMULATED
from experiments.places import Place, data_folder
from transforms.errors import InputError
from transforms.features import Split

COLD = {"cold_users": "user", "cold_items": "item"}
_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 2048
Logits = dict[str, np.ndarray]


def run_task(task: Cell | Place, grid: CS3Grid, root: Path) -> dict[str, Any] | None:
    """Trains a cell, or makes the data that cells share."""
    if isinstance(task, Cell):
        return run_cell(task, grid, root)
    make_data(task, grid, root)
    return None


def make_data(place: Place, grid: CS3Grid, root: Path) -> None:
    """Simulates the log of a place."""
    from experiments.cs3.simulated import simulated_data

    folder = data_folder(root, place, grid.source == SIMULATED)
    world = grid.world_of(place.variant)
    if folder.exists() or world is None or grid.requests is None:
        return
    save_data(folder, simulated_data(world, grid.requests, place.seed))


def run_cell(cell: Cell, grid: CS3Grid, root: Path) -> dict[str, Any]:
    """Trains a cell and measures it.

    Returns:
      Settings and what was measured: on eval and test rows, in each of `MODES`, on the train split as it went, and
      over time. Of a cell that tries a learning rate only what chooses it, the log loss of frozen towers on the eval
      rows: it never sees the test rows.
    """
    keras.backend.clear_session()
    started, cpu_started = time.perf_counter(), time.process_time()
    data, sha256 = load_data(data_folder(root, cell.place, grid.source == SIMULATED))
    tried = grid.is_tuned and cell.place.seed in grid.tuning_seeds
    method = method_of(cell.variant)
    if method.shuffled:
        data = replace(data, splits={**data.splits, "train": shuffled(data.splits["train"], cell.place.seed)})
    group = build(cell.backbone, method, data, grid, cell.place.seed, cell.learning_rate)
    found = _tried(group, data, grid) if tried else _measured(group, data, grid)
    world = grid.world_of(cell.place.variant)
    return {
        "cell": cell.name,
        "variant": cell.place.variant,
        "seed": cell.place.seed,
        "backbone": cell.backbone,
        "method": cell.variant,
        "tried": tried,
        "learning_rate": cell.learning_rate,
        **found,
        "monitored": _finite(found["eval"][FROZEN]["logloss"]),
        "parameters": int(sum(np.prod(weight.shape) for weight in group.trainable_variables)),
        "rows": {split: len(own) for split, own in data.splits.items()},
        "data_sha256": sha256,
        "world": None if world is None else world.model_dump(mode="json"),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


def _tried(group: WatchedCS3, data: Data, grid: CS3Grid) -> dict[str, Any]:
    learn, score = _compiled(group.train_step), _compiled(lambda batch: group(batch[0], training=False))
    _logits(learn, data.splits["train"], grid.batch_size)
    found = _logits(score, data.splits["eval"], _SCORED_AT_ONCE)
    return {"eval": {FROZEN: of_one(found[TOWERS], data.splits["eval"])}}


def _measured(group: WatchedCS3, data: Data, grid: CS3Grid) -> dict[str, Any]:
    seen = passes(group, data, grid)
    masks = {split: _cold(group, data, data.splits[split], grid) for split in _SCORED}
    found: dict[str, Any] = {
        split: {mode: measured(*_pair(seen[mode, split]), data.splits[split], masks[split]) for mode in MODES}
        for split in _SCORED
    }
    for noise, logits in seen["noise", "test"].items():
        whole = measured(logits, seen[FROZEN, "test"][OF_RANKER], data.splits["test"], {})
        found["test"].setdefault("noise", {})[noise] = {key: whole[key] for key in ("auc", "auc_truth") if key in whole}
    for split in _SCORED:
        found[split][FROZEN] |= seen.get((RECALL, split), {})
    return {
        **found,
        "train": _late(seen[ONLINE, "train"], data.splits["train"]),
        "course": _course(seen, data),
        "stream": _about_stream(group, data, grid),
        "cached_ids": {name: int((own.counts.numpy() > 0).sum()) for name, own in group.caches.stores.items()},
    }


def _compiled(run: Callable[..., Any]) -> Any:
    return tf.function(run, reduce_retracing=True, autograph=False)


def passes(group: WatchedCS3, data: Data, grid: CS3Grid) -> dict[tuple[str, str], Any]:
    """Logits by mode and split, those under noise, and recalls by split.

    `frozen` scores with the weights and caches of the end of training; `prequential` lets the caches take the labels
    of each batch once it is scored; `online` trains on, too. The latter starts again from the end of training.
    """
    learn, reveal = _compiled(group.train_step), _compiled(group.revealed)
    score = _compiled(lambda batch: group(batch[0], training=False))
    size = grid.batch_size
    found: dict[tuple[str, str], Any] = {(ONLINE, "train"): _logits(learn, data.splits["train"], size)}
    found |= {(FROZEN, split): _logits(score, data.splits[split], _SCORED_AT_ONCE) for split in _SCORED}
    if grid.cut_off is not None:
        found |= {(RECALL, split): catalogue_recalls(group, data, split, grid.cut_off) for split in _SCORED}
    found["noise", "test"] = _under_noise(group, data.splits["test"], grid)
    states = [state for store in group.caches.stores.values() for state in store.variables]
    kept = [state.numpy() for state in states]
    found |= {(PREQUENTIAL, split): _logits(reveal, data.splits[split], size) for split in _SCORED}
    for state, values in zip(states, kept, strict=True):
        state.assign(values)
    found |= {(ONLINE, split): _logits(learn, data.splits[split], size) for split in _SCORED}
    return found


def _logits(run: Callable[[Any], Mapping[str, tf.Tensor]], stream: Stream, size: int) -> Logits:
    parts = [{name: value.numpy() for name, value in run(batch).items()} for batch in stream.batches(size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _under_noise(group: WatchedCS3, stream: Stream, grid: CS3Grid) -> dict[str, np.ndarray]:
    run = _compiled(group.under_noise)
    found = {}
    for noise in grid.noise:
        parts = [
            run(features, tf.constant(noise), tf.constant([1, 10 * index])).numpy()
            for index, (features, _) in enumerate(stream.batches(_SCORED_AT_ONCE))
        ]
        found[f"{noise:g}"] = np.concatenate(parts)
    return found


def _pair(logits: Logits) -> tuple[np.ndarray, np.ndarray]:
    return logits[TOWERS], logits[OF_RANKER]


def _cold(group: WatchedCS3, data: Data, stream: Stream, grid: CS3Grid) -> dict[str, np.ndarray]:
    columns = {name: group.options.id_features[side] for name, side in COLD.items()}
    vocabularies = {item.name: item.vocabulary for item in data.inputs}
    in_vocabulary = {column: data.in_vocabulary_ids[str(vocabularies[column])] for column in columns.values()}
    return cold_masks(data.splits["train"], stream, columns, grid.cold_clicks, in_vocabulary)


def _about_stream(group: WatchedCS3, data: Data, grid: CS3Grid) -> dict[str, Any]:
    """How many users a batch has, and the share of rows whose user or item the vocabulary lacks."""
    train, users = data.splits["train"], group.options.id_features["user"]
    vocabularies = {item.name: item.vocabulary for item in data.inputs}
    unknown = {
        split: {
            side: float((data.splits[split].features[name] >= data.in_vocabulary_ids[str(vocabularies[name])]).mean())
            for side, name in group.options.id_features.items()
        }
        for split in _SCORED
    }
    return {"users_in_batch": distinct_in_batch(train.features[users], grid.batch_size), "unknown": unknown}


def _late(logits: Logits, stream: Stream) -> dict[str, float]:
    """Metrics of the second half of the train split, each row scored before the step that learned from it."""
    half = len(stream) // 2
    truth = None if stream.truth is None else stream.truth[half:]
    late = Stream({}, {}, stream.label[half:], stream.timestamp[half:], stream.group[half:], truth)
    towers, ranker = _pair(logits)
    return measured(towers[half:], ranker[half:], late, {})


def _course(seen: Mapping[tuple[str, str], Any], data: Data) -> dict[str, list[float | None]]:
    """AUC over the whole stream as online training went."""
    splits = list(data.splits)
    logits = [_pair(seen[ONLINE, split]) for split in splits]
    towers, ranker = (np.concatenate([pair[index] for pair in logits]) for index in (0, 1))
    label = np.concatenate([data.splits[split].label for split in splits])
    truths = [data.splits[split].truth for split in splits]
    truth = None if any(own is None for own in truths) else np.concatenate([np.asarray(own) for own in truths])
    return course({"towers": towers, "ranker": ranker}, label, truth)


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise InputError("training", f"eval log loss {value}", "a finite one", "leave out the greatest learning_rates")
    return value
