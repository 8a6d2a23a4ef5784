"""Fits the models of a run by its recipe."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.cotraining.base import Recipe, Trained
from models.table_model import TableModel
from models.training.compiling import precision
from models.training.distribution import num_servers, strategy_of, unshard
from models.training.job import FitSettings, TrainingJob
from models.training.linear_start import LinearStart
from models.training.memory import check_memory, table_bytes
from runs.building import model_of, recipe_of
from runs.config import RunConfig, TrainingConfig
from runs.data import (
    Task,
    TrainingData,
    batch_size_of,
    changed_batches,
    data_in_time_order,
    starts_linear,
    transformed_data,
)
from runs.external_inputs import load_inputs, reports
from runs.retrieval_data import retrieval_data
from runs.workers import check_one_process
from transforms.features import RecordKind
from transforms.vocabularies import in_vocabulary_ids, table_sizes

FEW_STEPS = 200
"""With fewer optimizer steps most models have not left their start."""


def fit_task(
    task: Task,
    checkpoint_dir: str | os.PathLike[str],
    strategy: tf.distribute.Strategy | None = None,
    say: Callable[[str], None] = lambda text: None,
    log_dir: str | os.PathLike[str] | None = None,
) -> Trained:
    """Trains by the config's recipe; continues from the last checkpoints in `checkpoint_dir` if there are any.

    Args:
      task: what to train on.
      checkpoint_dir: of the checkpoints.
      strategy: to train under; None: what `training.distribution` says, in this process alone.
      say: receives lines for the user; a summary of each external input only when the run begins.
      log_dir: of TensorBoard's event files, which stay when the checkpoints go; None: among the checkpoints.

    Raises:
      InputError: the tables do not fit into memory, the run is to be spread over processes without a strategy, or an
        external input has changed since it was recorded.
    """
    config, recipe = task.config, recipe_of(task.config)
    settings = config.training
    if strategy is None:
        check_one_process(config, "in one process")
        strategy = strategy_of(settings.distribution)
    sizes = table_sizes(task.feature_set, task.transform)
    _check_memory(config, recipe, sizes, strategy)
    external = load_inputs(task.inputs, task.facts, task.transform, task.run)
    summaries = [line for one in task.inputs if (line := one.summary()) is not None]
    if summaries and not has_checkpoints(checkpoint_dir):
        for line in summaries:
            say(line)
    # The transform's tables belong to this process, whatever the weights belong to.
    data = data_in_time_order(task) if recipe.from_raw_rows else transformed_data(task, strategy)
    lowered = changed_batches(settings, data.examples, config.record)
    if lowered is not None:
        say(lowered)
    job = _job(task, sizes, data, external)
    if log_dir is not None:
        job = dataclasses.replace(job, log_dir=lambda folder: Path(log_dir) / folder.relative_to(checkpoint_dir))
    with strategy.scope():
        trained = recipe.train(job, Path(checkpoint_dir))
    trained = dataclasses.replace(
        trained,
        report={**trained.report, **reports(task.inputs)},
        warnings=tuple(warnings_of(trained, settings, data.examples, data.eval_rate, config.record)),
        changes=tuple(line for line in (lowered, _start_of(trained)) if line is not None),
    )
    is_plain = settings.precision != "mixed_bfloat16" and not settings.jit_compile and settings.distribution == "none"
    if is_plain or not isinstance(trained.model, TableModel):
        return trained
    # A server may have neither bfloat16 nor XLA, and no other machines, and answers should not depend on them.
    peers = trained.peers
    plain_peers = None if peers is None else lambda: tuple(map(_plain, peers()))
    return dataclasses.replace(trained, model=_plain(trained.model), peers=plain_peers)


def has_checkpoints(directory: str | os.PathLike[str]) -> bool:
    """Returns whether a run that keeps its checkpoints there has begun."""
    return any(Path(directory).rglob("*.index"))


def _job(task: Task, sizes: dict[str, int], data: TrainingData, external: Mapping[str, Any]) -> TrainingJob:
    config = task.config
    settings = config.training
    fields = {item.name for item in dataclasses.fields(FitSettings)}
    start = None
    if starts_linear(settings, data.examples, config.record):
        start = LinearStart(lambda: data.train(config.seed, 0), data.eval)
    linear_terms = start is not None and recipe_of(config).adds_linear_terms
    return TrainingJob(
        build=lambda seed, name: model_of(config, task.feature_set, sizes, seed, name, linear_terms),
        train_dataset=data.train,
        eval_dataset=data.eval,
        steps_per_epoch=-(-data.examples // batch_size_of(settings, data.examples, config.record)),
        settings=FitSettings(**{key: value for key, value in settings.model_dump().items() if key in fields}),
        seed=config.seed,
        in_vocabulary_ids=in_vocabulary_ids(task.feature_set, sizes),
        base_rate=data.base_rate,
        linear_start=start,
        external=external,
        retrieval=partial(retrieval_data, task) if task.raw_files and config.record == "row" else None,
    )


def _check_memory(config: RunConfig, recipe: Recipe, sizes: dict[str, int], strategy: tf.distribute.Strategy) -> None:
    limit = config.training.memory_limit_gb
    widths = recipe.row_widths(config.model.embedding_dim + 1)
    needed = table_bytes(sizes, widths, slots=1 if config.training.optimizer == "adagrad" else 2)
    what, servers = f"{sum(sizes.values()):,} ids", num_servers(strategy)
    if servers:
        # They are taken to have as much memory as the chief.
        needed, what = needed // servers, f"{what} on {servers} parameter servers, each"
    check_memory(needed, None if limit is None else int(limit * 1e9), what)


def _plain(model: TableModel) -> TableModel:
    """A copy in this process that computes in float32, without XLA."""
    with precision("float32"):
        copy = type(model).from_config({**model.get_config(), "jit_compile": False})
    copy.embeddings.build(None)
    copy.build_head()
    for target, source in zip(copy.weights, unshard(model.weights), strict=True):
        target.assign(tf.convert_to_tensor(source))
    return copy


def warnings_of(
    trained: Trained,
    training: TrainingConfig,
    examples: int,
    eval_rate: float | None,
    record: RecordKind = "row",
) -> list[str]:
    """What is wrong with a run that was too short, or that learned nothing: what was received, and the remedy.

    Args:
      trained: the result.
      training: of the run.
      examples: records of the train split.
      eval_rate: mean label of the eval split; None: not known.
      record: `row` or `request`.
    """
    steps, size = _steps(trained), batch_size_of(training, examples, record)
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
    warnings = []
    # One that ran out of patience would not gain by more steps.
    if steps < FEW_STEPS and not trained.result.stopped_early:
        warnings.append(f"the run was short: {ran}; expected at least {FEW_STEPS} steps; {fix}")
    entropy = _normalized_entropy(trained, eval_rate)
    if entropy is not None and entropy >= 1:
        what = f"the model is no better than the mean click rate: normalized entropy {entropy:.4f} on the eval split"
        fix = "lower training.learning_rate, raise training.embedding_l2, or look at the features and the split"
        # What to do about a short run has been said.
        warnings.append(f"{what}; expected below 1" if warnings else f"{what} after {ran}; expected below 1; {fix}")
    return warnings


def _start_of(trained: Trained) -> str | None:
    """Returns what to report of what a training began with and could keep; None if there was no such thing."""
    start, result = trained.result.start, trained.result
    if not start:
        return None
    what = "with pretrained peers" if trained.report.get("pretraining") else "as a logistic regression"
    kept = "kept, as no epoch was better" if result.best_epoch == 0 else f"left for epoch {result.best_epoch}"
    return f"began {what} of eval log loss {start['eval_logloss']:.4f}, {kept}"


def _steps(trained: Trained) -> int:
    """Steps that the model has had, those of its pretraining included."""
    before = trained.report.get("pretraining", [])
    best = trained.report.get("best_peer", 0)
    # A pretrained run that does not record its steps counts as long enough.
    return trained.result.steps + int(before[best].get("steps", FEW_STEPS) if best < len(before) else 0)


def _normalized_entropy(trained: Trained, rate: float | None) -> float | None:
    """Eval log loss over the entropy of the eval split's mean label; None where either is not known."""
    best = trained.result.best
    loss = best.get(f"eval_logloss/peer_{trained.report.get('best_peer', 0)}", best.get("eval_logloss"))
    if loss is None or rate is None or not 0 < rate < 1:
        return None
    return loss / -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))
