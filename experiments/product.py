"""Cells as runs of the product: presets, transform, training and scoring are those of the command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from consort.config import load_config
from models.cotraining.base import Trained
from runs.config import RunConfig, with_values
from runs.data import Task
from runs.evaluate import LOGGED_SCORE, TRUTH, Scored, score_files
from runs.plan import make_plan
from runs.train import fit_run
from serving.export.signatures import ServedModel
from transforms.beam.transform_dataset import transform_dataset
from transforms.features import Split
from transforms.integrity import check_values
from transforms.records import load_dataset, shard_paths

_CHECKPOINT_STEPS = 2000


def run_config(preset: str, overrides: Sequence[str], values: Mapping[str, Any]) -> RunConfig:
    """The run file of a cell.

    Args:
      preset: a run file, or the name of a preset.
      overrides: `key=value` over it, as `consort train --set` takes them.
      values: of the cell, by `section.key`.
    """
    checkpoints = {"training.checkpoint_steps": _CHECKPOINT_STEPS, "training.keep_checkpoints": 1}
    return with_values(load_config(preset, tuple(overrides)), {**checkpoints, **values})


def transform_once(config: RunConfig, data_dir: Path, folder: Path) -> None:
    """Checks a dataset and transforms its train and eval splits into a new folder, which several runs may share.

    Raises:
      InputError: the dataset is damaged, lacks a split or does not fit the run.
    """
    plan = make_plan(config, data_dir, folder.parent)
    check_values(data_dir, plan.dataset, config.record, plan.splits)
    folder.parent.mkdir(parents=True, exist_ok=True)
    transform_dataset(data_dir, plan.dataset, folder, plan.feature_set, config.record)


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
    record, dataset = task.config.record, load_dataset(data_dir)
    served = ServedModel(models[0], task.transform, task.feature_set, record)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def logits(examples: tf.Tensor) -> tf.Tensor:
        features = served.features_of(examples)
        return tf.stack([tf.cast(model(features, training=False), tf.float32) for model in models], axis=-1)

    def scored(split: Split) -> Scored:
        files, total = shard_paths(data_dir, dataset, record, split), dataset.records[record][split].records
        extras = [column.name for column in dataset.feature_set.columns if column.name in (TRUTH, LOGGED_SCORE)]
        return score_files(
            lambda examples: np.asarray(logits(examples)), files, dataset.feature_set, record, extras, batch_size, total
        )

    return {split: scored(split) for split in splits}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, in float64."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits, np.float64))))
