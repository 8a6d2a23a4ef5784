"""Train one model on transformed examples and export it: the same for TFX and for `consort train`."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from consort.config import RunConfig
from models.registry import build_model
from models.training.fit import FitResult, fit
from serving.export import export_model
from transforms.features import CANDIDATE, EXPOSED, LABEL, FeatureSet, RecordKind
from transforms.input import Features, parsed, serialized
from transforms.vocabularies import table_sizes

GOLDEN_COUNT = 64
"""Raw records that travel with a model: for warm-up, and with the trainer's scores for checks."""


@dataclass(frozen=True)
class Task:
    """What to train on.

    Args:
      config: the run.
      feature_set: the declaration, with the config's changes applied.
      transform: learned from the train split.
      train_files, eval_files: transformed TFRecords; no eval files means no early stop.
      run: see `provenance.run_info`; travels with the model.
      warmup_examples: some raw records, for the exported model's warm-up.
    """

    config: RunConfig
    feature_set: FeatureSet
    transform: tft.TFTransformOutput
    train_files: Sequence[str]
    eval_files: Sequence[str]
    run: dict[str, Any]
    warmup_examples: Sequence[bytes]


def model_of(config: RunConfig, feature_set: FeatureSet, sizes: dict[str, int]) -> keras.Model:
    """The config's model, its weights a function of the config's seed."""
    keras.utils.set_random_seed(config.seed)
    model = config.model
    return build_model(
        model.name,
        feature_set.model_inputs(config.record),
        sizes,
        embedding_dim=model.embedding_dim,
        hidden_units=model.hidden_units,
        dropout=model.dropout,
        batch_norm=model.batch_norm,
        embedding_l2=config.training.embedding_l2,
        seed=config.seed,
        **model.options,
    )


def labelled(columns: Features, record: RecordKind) -> tuple[Any, ...]:
    """Transformed columns as (features, label) or, for requests, (features, label, weight).

    The weight of a candidate is 1 where it is real and exposed, else 0: nobody knows its label.
    """
    features = {name: value for name, value in columns.items() if name not in (LABEL, EXPOSED, CANDIDATE)}
    if record == "row":
        return features, columns[LABEL]
    return features, columns[LABEL], tf.cast(columns[EXPOSED] * columns[CANDIDATE], tf.float32)


def train(task: Task, checkpoint_dir: str | os.PathLike[str]) -> tuple[keras.Model, FitResult]:
    """Fits the config's model; continues from the last checkpoint in `checkpoint_dir` if there is one."""
    config, spec = task.config, task.transform.transformed_feature_spec()
    settings = config.training
    model = model_of(config, task.feature_set, table_sizes(task.feature_set, task.transform))

    def train_dataset(epoch: int) -> tf.data.Dataset:
        batches = serialized(
            task.train_files,
            settings.batch_size,
            shuffle_buffer=settings.shuffle_buffer,
            seed=config.seed * 1_000_003 + epoch,
            drop_remainder=False,
        )
        return parsed(batches, spec, lambda columns: labelled(columns, config.record))

    eval_dataset = None
    if task.eval_files:
        batches = serialized(task.eval_files, settings.batch_size)
        eval_dataset = parsed(batches, spec, lambda columns: labelled(columns, config.record))
    result = fit(
        model,
        train_dataset,
        eval_dataset,
        str(checkpoint_dir),
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        checkpoint_steps=settings.checkpoint_steps,
        keep_checkpoints=settings.keep_checkpoints,
        steps_per_execution=settings.steps_per_execution,
        max_steps=settings.max_steps,
        seed=config.seed,
    )
    return model, result


def finished_run(task: Task, result: FitResult) -> dict[str, Any]:
    """The run as `run.json` and the contract tell it: what made the model and how training went."""
    return {**task.run, "training": dataclasses.asdict(result)}


def export(task: Task, model: keras.Model, run: dict[str, Any], directory: str | os.PathLike[str]) -> None:
    """Writes the trained model as a SavedModel with its preprocessing, warm-up and contract."""
    export_model(
        directory,
        task.config.name,
        model,
        task.transform,
        task.feature_set,
        task.config.record,
        run,
        task.warmup_examples,
    )
