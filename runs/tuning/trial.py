"""One trial of a search, in a process of its own: trains as `consort train` does, and writes what came of it.

`python -m runs.tuning.trial FOLDER PARENT`: reads FOLDER/task.json, writes FOLDER/result.json.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runs.children import die_with, peak_gb
from transforms.files import write_text

# Nothing heavy up here: a child must first see to it that it ends with its parent.
if TYPE_CHECKING:
    from runs.data import Task

TASK, RESULT, LOG, CHECKPOINTS = "task.json", "result.json", "log.txt", "checkpoints"
_MAX_REASON = 2000


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Args:
      status: `completed` or `failed`.
      hyperparameters: keys of the run file and the trial's values.
      metrics: on the eval split, of the epoch whose weights were kept.
      seconds: that it took, since it was last started.
      reason: why it failed.
      peak_gb: the most main memory that it took.
      steps, epochs: that were trained.
    """

    status: Literal["completed", "failed"]
    hyperparameters: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str | None = None
    peak_gb: float | None = None
    steps: int | None = None
    epochs: int | None = None


def read_outcome(folder: Path) -> Outcome:
    """The outcome that a trial wrote."""
    return Outcome(**json.loads((folder / RESULT).read_text()))


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Writes the outcome, whole or not at all."""
    write_text(folder / RESULT, json.dumps(asdict(outcome), indent=2) + "\n")


def run(folder: Path) -> None:
    """Trains the task in a folder and writes its outcome there; an error is written, then raised."""
    started = time.monotonic()
    task = json.loads((folder / TASK).read_text())
    values = task["hyperparameters"]
    try:
        metrics = train_and_evaluate(task, folder / CHECKPOINTS)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
        seconds = time.monotonic() - started
        write_outcome(folder, Outcome("failed", values, {}, seconds, reason, peak_gb(os.getpid())))
        raise
    seconds = time.monotonic() - started
    write_outcome(folder, Outcome("completed", values, seconds=seconds, peak_gb=peak_gb(os.getpid()), **metrics))


def train_and_evaluate(task: Mapping[str, Any], checkpoint_dir: Path) -> dict[str, Any]:
    """Trains by the same code as `consort train`; gives `metrics`, `steps` and `epochs`."""
    from runs.config import parse_config
    from runs.data import Task
    from runs.external_inputs import checked_inputs
    from runs.fitting import fit_task
    from transforms.features import FeatureSet
    from transforms.records import Items
    from transforms.transform_graph import read_transform

    config, feature_set = parse_config(task["config"], "trial"), FeatureSet.model_validate(task["feature_set"])
    training = Task(
        config=config,
        feature_set=feature_set,
        transform=read_transform(task["transform"]),
        train_files=task["train_files"],
        eval_files=task["eval_files"],
        run={"dataset_sha256": task["dataset_sha256"]},
        warmup_examples=(),
        raw_files=task["raw_files"],
        items=Items.model_validate(task["items"]) if task["items"] else None,
        first_time=task["first_time"],
    )
    training = replace(training, inputs=checked_inputs(training.facts))
    trained = fit_task(training, checkpoint_dir)
    recalls = {name: value for name, value in trained.result.best.items() if name.startswith("eval_catalogue_recall@")}
    metrics = {**recalls, **eval_metrics(trained.model, training)}
    return {"metrics": metrics, "steps": trained.result.steps, "epochs": trained.result.epochs}


def eval_metrics(model: Any, task: "Task") -> dict[str, float]:
    """Exact `eval_auc` and `eval_logloss` of a model that gives logits, over exposed examples.

    Raises:
      ConsortError: a logit is not a finite number, or a metric is not defined on the eval split.
    """
    import numpy as np
    import tensorflow as tf

    from evaluation.pointwise import auc, logloss
    from transforms.errors import ConsortError
    from transforms.input import labeled, parsed, serialized

    config, spec = task.config, task.transform.transformed_feature_spec()
    batches = serialized(task.eval_files, config.training.rows_at_once)
    # Keras converts each layer's `call` by itself; converting all of Keras besides takes longer than the rest.
    logits_of = tf.function(lambda features: model(features, training=False), reduce_retracing=True, autograph=False)
    parts = []
    for features, label, *weights in parsed(batches, spec, lambda columns: labeled(columns, config.record)):
        weight = weights[0].numpy() if weights else np.ones(label.shape)
        logits = tf.cast(logits_of(features), tf.float64).numpy()
        parts.append([values[weight > 0] for values in (label.numpy(), logits, weight)])
    label, logit, weight = (np.concatenate(part) for part in zip(*parts))
    if not np.isfinite(logit).all():
        raise ConsortError(f"{int((~np.isfinite(logit)).sum())} scores of the eval split are not finite numbers")
    probability = 0.5 * (1.0 + np.tanh(0.5 * logit))
    metrics = {"eval_auc": auc(label, probability, weight), "eval_logloss": logloss(label, probability, weight)}
    if None in metrics.values():
        raise ConsortError("the eval split has labels of one class only; no AUC is defined on it")
    return {name: float(value) for name, value in metrics.items() if value is not None}


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    run(Path(sys.argv[1]))
