"""Cells as runs of the product: presets, transform, training and scoring are those of the command line."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from consort.config import load_config
from models.cotraining.base import Trained
from runs.building import recipe_of
from runs.config import RunConfig, with_values
from runs.data import Task
from runs.evaluate import LOGGED_SCORE, TRUTH, Scored, score_files
from runs.plan import make_plan
from runs.train import fit_run
from serving.export.signatures import ServedModel
from transforms.beam.transform_dataset import transform_dataset
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, TIMESTAMP, RecordKind, Split
from transforms.input import serialized
from transforms.integrity import check_values
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.splits import SPLIT_ENDS
from transforms.writing import new_dataset, write_serialized

_CHECKPOINT_STEPS = 2000
_READ_AT_ONCE = 4096


def run_config(preset: str, overrides: Sequence[str], values: Mapping[str, Any]) -> RunConfig:
    """Returns the run file of a cell.

    Args:
      preset: a run file, or the name of a preset.
      overrides: `key=value` over it, as `consort train --set` takes them.
      values: of the cell, by `section.key`.
    """
    checkpoints = {"training.checkpoint_steps": _CHECKPOINT_STEPS, "training.keep_checkpoints": 1}
    return with_values(load_config(preset, tuple(overrides)), {**checkpoints, **values})


def transform_once(config: RunConfig, data_dir: Path, folder: Path) -> None:
    """Checks a dataset and transforms what a run reads of it into a new folder, which several runs may share.

    Raises:
      InputError: the dataset is damaged, lacks a split or does not fit the run.
    """
    plan = make_plan(config, data_dir, folder.parent)
    check_values(data_dir, plan.dataset, config.record, plan.splits)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # What is read in the order of time is transformed as it is read.
    splits: tuple[Split, ...] = () if recipe_of(config).from_raw_rows else ("train", "eval")
    transform_dataset(data_dir, plan.dataset, folder, plan.feature_set, config.record, splits)


def copy_records(
    data_dir: Path, out: Path, record: RecordKind, most: int | None = None, order_seed: int | None = None
) -> None:
    """Copies records of one kind into a new dataset, one shard a split.

    Args:
      data_dir: the dataset.
      out: to be made.
      record: the kind of the records.
      most: number of records at most, from the start of each split, in its share of the whole; None: all.
      order_seed: of the order of the train split; None keeps it.
    """
    dataset = load_dataset(data_dir)
    shares = dict(zip(SPLITS, np.diff([0, *SPLIT_ENDS]), strict=True))
    spec = parse_spec(dataset.feature_set, record, (TIMESTAMP, LABEL, EXPOSED, CANDIDATE))
    with new_dataset(out, dataset.source, dataset.feature_set, dataset.origin) as unfinished:
        for split in dataset.records[record]:
            files = serialized(shard_paths(data_dir, dataset, record, split), _READ_AT_ONCE).unbatch()
            if most is not None:
                files = files.take(max(1, round(most * shares[split])))
            records = np.array(list(files.as_numpy_iterator()), object)
            if order_seed is not None and split == "train":
                records = np.random.default_rng(order_seed).permutation(records)
            columns = {name: value.numpy() for name, value in tf.io.parse_example(records.tolist(), spec).items()}
            shown = columns.get(EXPOSED, 1) * columns.get(CANDIDATE, np.ones_like(columns[LABEL]))
            counts = int(shown.sum()), int((columns[LABEL] * shown == 1).sum())
            write_serialized(unfinished.directory, record, split, "part", records.tolist(), columns[TIMESTAMP], *counts)


def train(config: RunConfig, data_dir: Path, run: Path, transformed: Path) -> tuple[Task, Trained]:
    """Trains as `consort train` does, in the folder `run`, where a killed run continues."""
    return fit_run(make_plan(config, data_dir, run), transformed)


def score_peers(
    task: Task, models: Sequence[keras.Model], data_dir: Path, splits: Sequence[Split], batch_size: int
) -> dict[Split, Scored]:
    """Scores the raw records of some splits with models of a run, through the learned transform.

    Returns:
      The records of each split as `consort evaluate` scores them, but with the logits of all peers as their last axis
      in the place of probabilities.
    """

    def logits(features: Mapping[str, Any]) -> tf.Tensor:
        return tf.stack([tf.cast(model(features, training=False), tf.float32) for model in models], axis=-1)

    return compute(task, models[0], logits, data_dir, splits, batch_size)


def compute(
    task: Task,
    model: keras.Model,
    function: Callable[[Mapping[str, Any]], tf.Tensor],
    data_dir: Path,
    splits: Sequence[Split],
    batch_size: int,
) -> dict[Split, Scored]:
    """Returns raw records as `score_peers` does, with anything that is computed from the features of `model`."""
    record, dataset = task.config.record, load_dataset(data_dir)
    served = ServedModel(model, task.transform, task.feature_set, record)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def values(examples: tf.Tensor) -> tf.Tensor:
        return function(served.features_of(examples))

    def scored(split: Split) -> Scored:
        files, total = shard_paths(data_dir, dataset, record, split), dataset.records[record][split].records
        extras = [column.name for column in dataset.feature_set.columns if column.name in (TRUTH, LOGGED_SCORE)]
        return score_files(
            lambda examples: np.asarray(values(examples)), files, dataset.feature_set, record, extras, batch_size, total
        )

    return {split: scored(split) for split in splits}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities, in float64."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits, np.float64))))
