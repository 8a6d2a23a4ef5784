"""Runs too short to learn: smaller batches where the run file allows them, and a warning where it shows."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from consort.config import TrainingConfig
from models.cotraining.base import Trained
from transforms.features import CANDIDATE, EXPOSED, LABEL
from transforms.input import parsed, serialized

FEW_STEPS = 200
"""With fewer optimizer steps most models have not left their start."""
_READ_AT_ONCE = 4096


def batch_size_of(training: TrainingConfig, examples: int) -> int:
    """Records a step: `batch_size`, or so many less that an epoch has `min_steps_per_epoch` steps.

    Args:
      training: of the run.
      examples: records of the train split.
    """
    return max(1, min(training.batch_size, examples // training.min_steps_per_epoch))


def smaller_batches(training: TrainingConfig, examples: int) -> str | None:
    """What to say of a batch size that was lowered; None if it was not."""
    chosen = batch_size_of(training, examples)
    if chosen >= min(training.batch_size, max(examples, 1)):
        return None
    return (
        f"batches of {chosen} in the place of batch_size {training.batch_size}, so that an epoch of {examples:,} "
        f"records has min_steps_per_epoch, {training.min_steps_per_epoch}"
    )


def mean_label(files: Sequence[str], spec: dict[str, Any], most: int | None = None) -> float | None:
    """Mean label of rows, or of the exposed candidates of requests; None if there are none.

    Args:
      files: TFRecords.
      spec: of their columns, for `tf.io.parse_example`.
      most: records to read, about; None: all.
    """
    if not files:
        return None
    used = {name: spec[name] for name in (LABEL, EXPOSED, CANDIDATE) if name in spec}
    batches = serialized(files, _READ_AT_ONCE)
    if most is not None:
        batches = batches.take(-(-most // _READ_AT_ONCE))
    clicks = shown = 0.0
    for columns in parsed(batches, used):
        label = tf.cast(columns[LABEL], tf.float64)
        weight = tf.ones_like(label)
        for name in (EXPOSED, CANDIDATE):
            if name in columns:
                weight *= tf.cast(columns[name], tf.float64)
        clicks += float(tf.reduce_sum(label * weight))
        shown += float(tf.reduce_sum(weight))
    return clicks / shown if shown else None


def warnings_of(trained: Trained, training: TrainingConfig, examples: int, eval_rate: float | None) -> list[str]:
    """What is wrong with a run that was too short, or that learned nothing: what was received, and the remedy.

    Args:
      trained: the result.
      training: of the run.
      examples: records of the train split.
      eval_rate: mean label of the eval split; None: not known.
    """
    steps, size = _steps(trained), batch_size_of(training, examples)
    ran = f"{steps} optimizer steps of batch_size {size} on {examples:,} records, {training.epochs} epochs"
    smaller = max(1, min(size, examples * training.epochs // (2 * FEW_STEPS)))
    if training.max_steps is not None and training.max_steps < FEW_STEPS:
        fix = f"raise training.max_steps, which is {training.max_steps}"
    elif smaller < size:
        fix = (
            f"set training.batch_size to {smaller}, or training.epochs to {-(-FEW_STEPS // max(steps, 1)) + 1} or more"
        )
    else:
        fix = "train on more records or for more epochs (training.epochs)"
    found = []
    if steps < FEW_STEPS:
        found.append(f"the run was short: {ran}; expected at least {FEW_STEPS} steps; {fix}")
    entropy = _normalized_entropy(trained, eval_rate)
    if entropy is not None and entropy >= 1:
        if steps >= FEW_STEPS:
            fix = "lower training.learning_rate, raise training.embedding_l2, or look at the features and the split"
        found.append(
            f"the model is no better than the mean click rate: normalised entropy {entropy:.4f} on the eval split "
            f"after {ran}; expected below 1; {fix}"
        )
    return found


def _steps(trained: Trained) -> int:
    """Steps that the model has had, those of its pretraining included."""
    before = trained.report.get("pretraining", [])
    best = trained.report.get("best_peer", 0)
    return trained.result.steps + int(before[best].get("steps", FEW_STEPS) if best < len(before) else 0)


def _normalized_entropy(trained: Trained, rate: float | None) -> float | None:
    """Eval log loss over the entropy of the eval split's mean label; None where either is not known."""
    best = trained.result.best
    loss = best.get(f"eval_logloss/peer_{trained.report.get('best_peer', 0)}", best.get("eval_logloss"))
    if loss is None or rate is None or not 0 < rate < 1:
        return None
    return loss / -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))
