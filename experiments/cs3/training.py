"""Trains one cell of a grid in one pass over its stream, as `consort train` does, and measures it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.cs3.cells import cells_of
from experiments.cs3.grid import CS3Grid
from experiments.cs3.measures import (
    SIDES,
    Rows,
    cold_masks,
    course,
    distinct_in_batch,
    groups,
    measured,
    metrics_of,
)
from experiments.cs3.methods import FROZEN, MODES, ONLINE, PREQUENTIAL, method_of
from experiments.cs3.recording import RecordingCS3, RecordingRecipe
from experiments.cs3.retrieval import catalogue_recalls
from experiments.product import compute, copy_records, score_peers, train
from experiments.runner import CellRun, Table
from models.training.checkpoints import Checkpoints
from models.training.fit import build_to_train
from runs.building import recipe_of, streaming_model_of
from runs.data import Task
from runs.evaluate import TRUTH
from runs.online.events import EventBatches
from runs.online.steps import steps_of
from runs.provenance import CHECKPOINT_DIR
from transforms.errors import InputError
from transforms.features import SPLITS, Split
from transforms.records import load_dataset, shard_paths
from transforms.vocabularies import in_vocabulary_ids, table_sizes

_RECIPE = f"{RecordingRecipe.__module__}.{RecordingRecipe.__qualname__}"
_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 2048


def run_cell(run: CellRun) -> dict[str, Any]:
    """Trains a cell and measures it; see `measured_cell`."""
    return measured_cell(run, trained_cell(run))


def trained_cell(run: CellRun) -> "Watched":
    """Trains a cell in one pass over its stream."""
    cell, records = run.cell, run.data.records
    dataset = load_dataset(records)
    if method_of(cell.variant).shuffled:
        records = run.folder / "shuffled"
        shutil.rmtree(records, ignore_errors=True)
        copy_records(run.data.records, records, "row", order_seed=cell.place.seed)
    rows = sum(split.records for split in dataset.records["row"].values())
    config = run.grid.cell_config(
        dataset.source, cell.backbone, cell.variant, cell.place.seed, cell.learning_rate, name=_RECIPE, rows=rows
    )
    task, _ = train(config, records, run.folder, run.data.transformed)
    return Watched(task, run.folder, records, run.grid)


def measured_cell(run: CellRun, watched: "Watched") -> dict[str, Any]:
    """Measures a trained cell, and removes its run.

    Returns:
      Settings and what was measured: on eval and test rows, in each of `MODES`, on the train split as it went, and
      over time. Of a cell that tries a learning rate only what chooses it, the log loss of frozen towers on the eval
      rows: it never sees the test rows.
    """
    cell, grid = run.cell, run.grid
    tried = grid.is_tuned and cell.place.seed in grid.tuning_seeds
    metrics = watched.tried() if tried else watched.measured()
    shutil.rmtree(run.folder)
    return {
        "variant": cell.place.variant,
        "seed": cell.place.seed,
        "backbone": cell.backbone,
        "method": cell.variant,
        "tried": tried,
        "learning_rate": cell.learning_rate,
        **metrics,
        "monitored": _finite(metrics["eval"][FROZEN]["logloss"]),
        "parameters": int(sum(np.prod(weight.shape) for weight in watched.group.trainable_variables)),
        "rows": {split: len(rows) for split, rows in watched.rows.items()},
        **grid.facts(cell),
    }


class Watched:
    """The models of a finished run, as they were at the end of training, and the rows of its dataset.

    Args:
      task, run, records: of the run, its folder, and its dataset.
      grid: what is measured.
    """

    def __init__(self, task: Task, run: Path, records: Path, grid: CS3Grid):
        self.task, self.records, self._grid = task, records, grid
        self._sizes = table_sizes(task.feature_set, task.transform)
        self._batches = EventBatches(task.transform, task.feature_set, grid.batch_size)
        group = streaming_model_of(task.config, recipe_of(task.config), task.feature_set, self._sizes)
        if not isinstance(group, RecordingCS3):
            raise ValueError(f"{type(group).__name__} is trained; expected RecordingCS3; use its recipe")
        self.group = group
        training = task.config.training
        build_to_train(group, self._batches.element_spec[0], training.learning_rate, training.optimizer)
        self._checkpoints = Checkpoints(run / CHECKPOINT_DIR / "together", group, group.optimizer, 1)
        self._checkpoints.restore()
        self._reveal = tf.function(group.reveal, input_signature=[self._batches.element_spec], autograph=False)
        self.rows = self._read_rows()

    def _read_rows(self) -> dict[Split, Rows]:
        names = self.group.options.id_features

        def ids(features: Any) -> tf.Tensor:
            return tf.stack([features[names[side]] for side in SIDES], axis=-1)

        scored = compute(self.task, self.group, ids, self.records, SPLITS, _SCORED_AT_ONCE)
        return {
            split: Rows(each.label, groups(each.request_id, each.user_id), each.probability, each.extra.get(TRUTH))
            for split, each in scored.items()
        }

    def _files(self, split: Split) -> list[str]:
        return shard_paths(self.records, load_dataset(self.records), "row", split)

    def tried(self) -> dict[str, Any]:
        """Returns what chooses a learning rate: metrics of the frozen towers on the eval rows."""
        logits = self._frozen(("eval",))["eval"]
        return {"eval": {FROZEN: metrics_of(logits[:, 0], self.rows["eval"])}}

    def measured(self) -> dict[str, Any]:
        """Returns all that is measured. Training goes on in it: the models are then those of the end of the stream."""
        rows, grid = self.rows, self._grid
        frozen = self._frozen(_SCORED)
        noise = {f"{level:g}": self._under_noise(level) for level in grid.noise}
        recalls = {split: self._recalls(split) for split in _SCORED}
        prequential = {split: self._prequential(split) for split in _SCORED}
        online = self._online()
        modes = {FROZEN: frozen, PREQUENTIAL: prequential, ONLINE: online}
        in_vocabulary = list(self._in_vocabulary().values())
        metrics: dict[str, Any] = {}
        for split in _SCORED:
            cold = cold_masks(rows["train"], rows[split], grid.cold_clicks, in_vocabulary)
            metrics[split] = {mode: measured(modes[mode][split], rows[split], cold) for mode in MODES}
            metrics[split][FROZEN] |= recalls[split]
        for name, logits in noise.items():
            of_noise = metrics_of(logits, rows["test"])
            metrics["test"].setdefault("noise", {})[name] = {
                key: of_noise[key] for key in ("auc", "auc_truth") if of_noise.get(key) is not None
            }
        half = len(rows["train"]) // 2
        return {
            **metrics,
            "train": measured(online["train"][half:], rows["train"].since(half), {}),
            "course": course(np.concatenate([online[split] for split in SPLITS]), [rows[split] for split in SPLITS]),
            "stream": self._stream(),
            "cached_ids": {
                name: int((store.counts.numpy() > 0).sum()) for name, store in self.group.caches.stores.items()
            },
        }

    def _frozen(self, splits: tuple[Split, ...]) -> dict[Split, np.ndarray]:
        """Logits of towers and ranker as training left them."""
        peers = [self.group.peer(index) for index in range(2)]
        scored = score_peers(self.task, peers, self.records, splits, _SCORED_AT_ONCE)
        return {split: each.probability for split, each in scored.items()}

    def _recalls(self, split: Split) -> dict[str, float]:
        if self._grid.cut_off is None:
            return {}
        towers: Any = self.group.peer(0)
        return catalogue_recalls(self.task, towers, self.records, split, self._grid.cut_off)

    def _under_noise(self, level: float) -> np.ndarray:
        run = tf.function(self.group.under_noise, reduce_retracing=True, autograph=False)
        batches = EventBatches(self.task.transform, self.task.feature_set, _SCORED_AT_ONCE).of(self._files("test"))
        parts = [
            run(batch[0], tf.constant(level), tf.constant([1, 10 * index])).numpy()
            for index, (_, batch) in enumerate(batches)
        ]
        return np.concatenate(parts)

    def _prequential(self, split: Split) -> np.ndarray:
        """Logits of each batch before the caches take its labels."""
        return np.concatenate([self._reveal(batch).numpy() for _, batch in self._batches.of(self._files(split))])

    def _online(self) -> dict[Split, np.ndarray]:
        """Logits of each row before the step that learned from it, from the first row of the stream to the last."""
        self._checkpoints.restore()
        steps = steps_of(self.group, self._batches.element_spec)
        for split in _SCORED:
            for _, batch in self._batches.of(self._files(split)):
                steps.train(batch)
        ends = np.cumsum([len(self.rows[split]) for split in SPLITS])[:-1]
        return dict(zip(SPLITS, np.split(self.group.recorded, ends), strict=True))

    def _in_vocabulary(self) -> dict[str, int]:
        """Ids of users and of items without the out-of-vocabulary buckets."""
        inputs = {item.name: item.vocabulary for item in self.task.feature_set.model_inputs("row")}
        known = in_vocabulary_ids(self.task.feature_set, self._sizes)
        return {side: known[str(inputs[name])] for side, name in self.group.options.id_features.items()}

    def _stream(self) -> dict[str, Any]:
        """Mean number of users in a batch, and the share of rows whose user or item the vocabulary lacks."""
        known = self._in_vocabulary()
        unknown = {
            split: {
                side: float((self.rows[split].ids[:, index] >= known[side]).mean()) for index, side in enumerate(SIDES)
            }
            for split in _SCORED
        }
        return {
            "users_in_batch": distinct_in_batch(self.rows["train"].ids[:, 0], self._grid.batch_size),
            "unknown": unknown,
        }


def _finite(value: float) -> float:
    if not np.isfinite(value):
        raise InputError("training", f"eval log loss {value}", "a finite one", "leave out the greatest learning_rates")
    return value


def _figure(result: dict[str, Any]) -> str:
    if result["tried"]:
        return f"eval log loss {result['monitored']:.5f}"
    return f"test auc {result['test'][FROZEN]['auc']:.4f}, as it trained {result['train']['auc']:.4f}"


TABLE = Table("cs3", cells_of, run_cell, _figure)
