"""The batches that a run trains on and is evaluated on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from models.training.distribution import worker_shard
from serving.teacher import Teacher
from tfx_pipeline.short_runs import batch_size_of, mean_label
from transforms.features import CANDIDATE, EXPOSED, LABEL, RecordKind
from transforms.input import Features, count_examples, parsed, serialized
from transforms.stream import RowEncoder, transformed_stream

if TYPE_CHECKING:
    from tfx_pipeline.training import Task

_FIRST_RECORDS = 10_000
"""Of the train split, by which an untrained model's share of clicks is chosen."""


def labelled(columns: Features, record: RecordKind) -> tuple[Any, ...]:
    """Transformed columns as (features, label) or, for requests, (features, label, weight).

    The weight of a candidate is 1 where it is real and exposed, else 0: nobody knows its label. The
    features of requests hold the mask `candidate`, too, which is no input of a model, and what the recipe
    may want of each candidate, such as `stage`.
    """
    features = {name: value for name, value in columns.items() if name not in (LABEL, EXPOSED)}
    if record == "row":
        return features, columns[LABEL]
    return features, columns[LABEL], tf.cast(columns[EXPOSED] * columns[CANDIDATE], tf.float32)


@dataclass(frozen=True)
class TrainingData:
    """The data that a run trains on.

    Args:
      train: batches of an epoch by the seed of their order and the epoch.
      eval: those of the eval split.
      examples: records to train on.
      base_rate: mean label of the first of them.
      eval_rate: mean label of the eval split.
    """

    train: Callable[[int, int], tf.data.Dataset]
    eval: tf.data.Dataset | None
    examples: int
    base_rate: float | None
    eval_rate: float | None


def transformed_data(task: "Task", strategy: tf.distribute.Strategy) -> TrainingData:
    """Of the transformed records of a task; each of several workers gets its own part of a batch."""
    settings, spec = task.config.training, task.transform.transformed_feature_spec()
    examples = count_examples(task.train_files)
    size = batch_size_of(settings, examples)

    def batches(files: Sequence[str], **options: Any) -> tf.data.Dataset:
        found = worker_shard(serialized(files, size, **options), strategy)
        return parsed(found, spec, lambda columns: labelled(columns, task.config.record))

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


def data_in_time_order(task: "Task") -> TrainingData:
    """Of the raw rows of a task, transformed as they are read."""
    plain = RowEncoder(task.transform, task.feature_set)
    examples = count_examples(task.raw_files["train"])
    size = batch_size_of(task.config.training, examples)

    def batches(split: str, encode: RowEncoder = plain) -> tf.data.Dataset:
        then = partial(labelled, record="row")
        return transformed_stream(task.raw_files[split], size, encode, then)

    evaluated = batches("eval") if task.raw_files.get("eval") else None
    first = next(iter(batches("train")), None)
    rate = None if first is None else float(tf.reduce_mean(first[1]))
    # It is asked in training alone: evaluation writes nothing, so it reads nothing of a teacher.
    taught = plain
    if task.teacher:
        taught = RowEncoder(task.transform, task.feature_set, teacher=Teacher(task.teacher, task.feature_set))
    eval_rate = mean_label(task.raw_files["eval"], plain.spec) if task.raw_files.get("eval") else None
    return TrainingData(lambda seed, epoch: batches("train", taught), evaluated, examples, rate, eval_rate)
