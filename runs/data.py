"""What a run trains on: its files, and the batches that are made of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from models.cotraining.external_inputs import ExternalInput, RunFacts
from models.layers.replicas import batch_mean
from models.training.distribution import worker_shard
from runs.config import MAX_ROWS, RunConfig, TrainingConfig
from transforms.features import CANDIDATE, EXPOSED, LABEL, WEIGHT, FeatureSet, RecordKind
from transforms.input import count_examples, labeled, parsed, serialized
from transforms.records import Items
from transforms.stream import RowEncoder, transformed_stream

_FIRST_RECORDS = 10_000
"""Of the train split, by which an untrained model's share of clicks is chosen."""
_READ_AT_ONCE = 4096
LINEAR_START_RECORDS: dict[RecordKind, int] = {"row": 100_000, "request": 10_000}
"""Records of a train split, at most, on which a model starts as a logistic regression by default."""
GOOD_STEPS = 400
"""Optimizer steps of a run whose batch size is chosen by its data."""


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
      raw_files: raw TFRecords of each split, in the order of time.
      items: the dataset's tables of items, with full paths.
      inputs: external inputs of the recipe, of `checked_inputs`.
      first_time: timestamp of the first event; None: not known.
    """

    config: RunConfig
    feature_set: FeatureSet
    transform: tft.TFTransformOutput
    train_files: Sequence[str]
    eval_files: Sequence[str]
    run: dict[str, Any]
    warmup_examples: Sequence[bytes]
    raw_files: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    items: Items | None = None
    inputs: Sequence[ExternalInput] = ()
    first_time: int | None = None

    @property
    def facts(self) -> RunFacts:
        """What external inputs may know."""
        return RunFacts(self.config, self.feature_set, str(self.run.get("dataset_sha256", "")), self.first_time)


@dataclass(frozen=True)
class TrainingData:
    """The data that a run trains on.

    Args:
      train: batches of an epoch by the seed of their order and the epoch.
      eval: those of the eval split.
      examples: records to train on.
      base_rate: mean label of the first of them, by sample weights.
      eval_rate: mean label of the eval split, likewise.
    """

    train: Callable[[int, int], tf.data.Dataset]
    eval: tf.data.Dataset | None
    examples: int
    base_rate: float | None
    eval_rate: float | None


def transformed_data(task: Task, strategy: tf.distribute.Strategy) -> TrainingData:
    """Of the transformed records of a task; each of several workers gets its own part of a batch."""
    settings, spec = task.config.training, task.transform.transformed_feature_spec()
    examples = count_examples(task.train_files)
    size = batch_size_of(settings, examples, task.config.record)

    def batches(files: Sequence[str], **options: Any) -> tf.data.Dataset:
        records = worker_shard(serialized(files, size, **options), strategy)
        return parsed(records, spec, lambda columns: labeled(columns, task.config.record))

    def train_dataset(seed: int, epoch: int) -> tf.data.Dataset:
        order = seed * 1_000_003 + epoch
        return batches(task.train_files, shuffle_buffer=settings.shuffle_buffer, seed=order)

    evaluated = batches(task.eval_files) if task.eval_files else None
    return TrainingData(
        train_dataset,
        evaluated,
        examples,
        base_rate=mean_label(task.train_files, spec, most=_FIRST_RECORDS),
        eval_rate=mean_label(task.eval_files, spec) if task.eval_files else None,
    )


def data_in_time_order(task: Task) -> TrainingData:
    """Of the raw rows of a task, transformed as they are read."""
    plain = RowEncoder(task.transform, task.feature_set)
    examples = count_examples(task.raw_files["train"])
    size = batch_size_of(task.config.training, examples)

    def batches(split: str, encode: RowEncoder = plain) -> tf.data.Dataset:
        then = partial(labeled, record="row")
        return transformed_stream(task.raw_files[split], size, encode, then)

    evaluated = batches("eval") if task.raw_files.get("eval") else None
    first = next(iter(batches("train")), None)
    rate = None if first is None else float(batch_mean(*first[1:]))
    # They are asked in training alone: evaluation does not learn from them.
    more = [features for one in task.inputs if (features := one.row_features(task.facts)) is not None]
    encode = RowEncoder(task.transform, task.feature_set, more=more) if more else plain
    eval_rate = mean_label(task.raw_files["eval"], plain.spec) if task.raw_files.get("eval") else None
    return TrainingData(lambda seed, epoch: batches("train", encode), evaluated, examples, rate, eval_rate)


def batch_size_of(training: TrainingConfig, examples: int, record: RecordKind = "row") -> int:
    """Returns the records of a step: `batch_size`, or fewer for an epoch of `min_steps_per_epoch` steps.

    Without a `batch_size` it is the largest power of two, within bounds, with which the run has `GOOD_STEPS` steps.

    Args:
      training: of the run.
      examples: records of the train split.
      record: `row` or `request`.
    """
    size = training.batch_size
    if size is None:
        least, most = (16, MAX_ROWS) if record == "row" else (4, 64)
        needed = min(examples * training.epochs // GOOD_STEPS, most)
        size = max(least, 1 << max(needed, 1).bit_length() - 1)
    return max(1, min(size, examples // training.min_steps_per_epoch))


def starts_linear(training: TrainingConfig, examples: int, record: RecordKind = "row") -> bool:
    """Returns True if a model starts as a logistic regression: `linear_start`, or as the size of the log asks for.

    Args:
      training, examples, record: as in `batch_size_of`.
    """
    # Of several processes each would begin with a regression of its shard.
    is_small = examples <= LINEAR_START_RECORDS[record]
    is_asked = is_small if training.linear_start is None else training.linear_start
    return is_asked and training.distribution == "none"


def changed_batches(training: TrainingConfig, examples: int, record: RecordKind = "row") -> str | None:
    """Returns what to report of a batch size that the run file does not have; None if it has it.

    Args:
      training, examples, record: as in `batch_size_of`.
    """
    chosen = batch_size_of(training, examples, record)
    if training.batch_size is None:
        return f"batch_size {chosen}, as {examples:,} records and {training.epochs} epochs need it"
    if chosen >= min(training.batch_size, max(examples, 1)):
        return None
    return (
        f"batches of {chosen} in the place of batch_size {training.batch_size}, so that an epoch of {examples:,} "
        f"records has min_steps_per_epoch, {training.min_steps_per_epoch}"
    )


def mean_label(files: Sequence[str], spec: dict[str, Any], most: int | None = None) -> float | None:
    """Mean label of rows, or of the exposed candidates of requests, by sample weights; None if there are none.

    Args:
      files: TFRecords.
      spec: of their columns, for `tf.io.parse_example`.
      most: records to read, about; None: all.
    """
    if not files:
        return None
    used = {name: spec[name] for name in (LABEL, EXPOSED, CANDIDATE, WEIGHT) if name in spec}
    batches = serialized(files, _READ_AT_ONCE)
    if most is not None:
        batches = batches.take(-(-most // _READ_AT_ONCE))
    clicks = shown = 0.0
    for columns in parsed(batches, used):
        label = tf.cast(columns[LABEL], tf.float64)
        weight = tf.ones_like(label)
        for name in (EXPOSED, CANDIDATE, WEIGHT):
            if name in columns:
                weight *= tf.cast(columns[name], tf.float64)
        clicks += float(tf.reduce_sum(label * weight))
        shown += float(tf.reduce_sum(weight))
    return clicks / shown if shown else None
