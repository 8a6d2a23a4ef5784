"""`consort train`: check, transform, fit, export and record a run in one folder, where a killed run continues."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Trained
from models.retrieval.tower_model import TowerModel
from runs.baselines.after_training import on_eval
from runs.baselines.retrieval import EvaluatedSplits
from runs.baselines.verdict import failed_gains
from runs.building import recipe_of
from runs.config import RunConfig
from runs.data import Task
from runs.fitting import fit_task
from runs.plan import LOG_DIR, Plan, make_plan
from runs.provenance import (
    CHECKPOINT_DIR,
    CONFIG_FILE,
    MODEL_DIR,
    RUN_FILE,
    claim,
    is_claimed,
    run_identity,
    run_info,
)
from runs.retrieval_report import retrieval_report
from runs.workers import ProcessRole
from serving.export.export import export_model
from serving.export.signatures import ServedModel
from serving.retrieval.catalogue import Catalogue, catalogue_at, catalogue_of, user_columns
from serving.retrieval.recall import catalogued, recall_of
from serving.retrieval.signatures import ServedTowers
from transforms.beam.runners import check_runner
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.errors import GateRefused, InputError
from transforms.features import Split
from transforms.files import write_text
from transforms.input import first_examples
from transforms.integrity import check_values
from transforms.locks import check_unlocked, locked
from transforms.progress import clock
from transforms.records import shard_paths

TRANSFORMED_DIR = "transformed"
GOLDEN_COUNT = 64
"""Raw records that travel with a model: for warm-up, and with the trainer's scores for checks."""


def train_run(
    config: RunConfig,
    data_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Transforms, trains and exports into `out`.

    `out` gets `config.yaml` and `run.json` (resolved config, seed, versions, data hash, command),
    `transformed/`, `checkpoints/`, perhaps `tensorboard/`, and at the end `model/`. Started again after a kill it goes
    on from there. Where `training.distribution` spreads the run over processes, each calls this, and the chief writes.

    Args:
      config: the run.
      data_dir: a dataset.
      out: folder of the run.
      say: receives lines for the user.

    Returns:
      The content of `run.json`; of a parameter server or its worker an empty one.

    Raises:
      InputError: the data does not fit the run or holds a value that its column cannot have, `out` holds another
        run or one is at work there, or TF_CONFIG does not describe one.
      ConsortError: the loss is not a finite number, or another process is gone.
    """
    role = ProcessRole(config.training.distribution, say)
    if role.is_chief:
        check_unlocked(out)
    if role.is_server:
        role.run_server(lambda: (Path(out) / MODEL_DIR).exists())
        return {"seed": config.seed, "training": {"history": []}}
    with role.connected(), contextlib.ExitStack() as stack:
        plan = make_plan(config, data_dir, out)
        if role.is_chief:
            check_runner(config.pipeline.beam_args)
            stack.enter_context(locked(plan.root))
        info = run_info(plan.config, plan.dataset.source, plan.dataset.sha256, plan.inputs)
        transformed = plan.root / TRANSFORMED_DIR
        if role.is_chief:
            _prepare(plan, info, transformed, say)
        else:
            say("waiting for the transformed data")
            role.wait_until(lambda: _claimed_and_unfinished(plan.root, info) and transformed.exists())
        say("training")
        task = _task(plan, transformed, info)
        try:
            trained = fit_task(task, plan.root / CHECKPOINT_DIR, role.strategy(), say, plan.root / LOG_DIR)
        except tf.errors.DataLossError as error:
            fix = "delete that folder; the same command makes it again"
            raise InputError(str(transformed), f"a damaged record ({error.message})", "whole records", fix) from error
        if not role.is_chief:
            say("waiting for the exported model")
            role.wait_until(lambda: (plan.root / MODEL_DIR).exists())
            return finished_run(task, trained)
        say("exporting")
        # The model is the sign of a finished run, so it comes last.
        with clock("exporting"):
            return export_run(task, trained, plan.root / RUN_FILE, plan.root / MODEL_DIR, plan)


def _prepare(plan: Plan, info: dict[str, Any], transformed: Path, say: Callable[[str], None]) -> None:
    """Checks the data's values, claims the run's folder and transforms the data, unless an earlier start did so."""
    if plan.changed_shards:
        say(f"{len(plan.changed_shards)} shards are no longer what dataset.json says; taken as they are")
    config = plan.config
    if plan.precision_reason:
        say(f"training.precision {config.training.precision}, {plan.precision_reason}")
    if not transformed.exists():
        check_values(plan.data_dir, plan.dataset, config.record, plan.splits)
    if not _claimed_and_unfinished(plan.root, info):
        claim(plan.root, RUN_FILE, identity=run_identity(info), record=info, kind="run")
    write_text(plan.root / CONFIG_FILE, config.to_yaml())
    if not transformed.exists():
        say("transforming")
        # What is read in the order of time is transformed as it is read.
        splits: tuple[Split, ...] = () if recipe_of(config).from_raw_rows else ("train", "eval")
        beam_args = config.pipeline.beam_args
        transform_dataset(
            plan.data_dir, plan.dataset, transformed, plan.feature_set, config.record, splits, beam_args=beam_args
        )


def _claimed_and_unfinished(root: Path, info: dict[str, Any]) -> bool:
    """Returns whether `root` is this run's folder already; refuses if it is another's or finished."""
    if not is_claimed(root, RUN_FILE, identity=run_identity(info), record=info, kind="run"):
        return False
    if (root / MODEL_DIR).exists():
        raise InputError(str(root), "a finished run", "a new folder, or an unfinished run", "choose another --out")
    return True


def fit_run(plan: Plan, transformed: Path) -> tuple[Task, Trained]:
    """Fits the models of a run on data that is transformed already, and records it in `run.json`; exports nothing.

    Later runs may start from it. Called again after a kill it goes on from the last checkpoint.

    Args:
      plan: the run.
      transformed: folder of `transform_dataset`, perhaps of another run on the same data and features.
    """
    info = run_info(plan.config, plan.dataset.source, plan.dataset.sha256, plan.inputs)
    task = _task(plan, transformed, info)
    trained = fit_task(task, plan.root / CHECKPOINT_DIR)
    write_text(plan.root / RUN_FILE, json.dumps(finished_run(task, trained), indent=2) + "\n")
    return task, trained


def _task(plan: Plan, transformed: Path, info: dict[str, Any]) -> Task:
    raw = shard_paths(plan.data_dir, plan.dataset, plan.config.record, plan.splits[-1])
    return Task(
        config=plan.config,
        feature_set=plan.feature_set,
        transform=load_transform(transformed),
        train_files=transformed_files(transformed, "train"),
        eval_files=transformed_files(transformed, "eval"),
        run=info,
        raw_files=plan.raw_files(),
        items=plan.items,
        warmup_examples=first_examples(raw, GOLDEN_COUNT),
        inputs=plan.inputs,
        first_time=plan.facts.first_time,
    )


def finished_run(task: Task, trained: Trained) -> dict[str, Any]:
    """Returns the run as `run.json` and the contract record it: what made the model and how training went."""
    has_linear = bool(getattr(trained.model, "uses_linear", False))
    notes = {"warnings": list(trained.warnings), "changes": list(trained.changes), "linear_terms": has_linear}
    reported = {name: value for name, value in notes.items() if value}
    run = {**task.run, "training": {**dataclasses.asdict(trained.result), **reported}}
    # What was known of the recipe's external inputs from the start stands there already.
    return {**run, "recipe": {**trained.report, **run.get("recipe", {})}} if trained.report else run


def export_run(
    task: Task, trained: Trained, run_file: Path, directory: str | os.PathLike[str], plan: Plan | None = None
) -> dict[str, Any]:
    """Records the run and exports its model, with its preprocessing, warm-up, contract and, of towers, the catalogue.

    Args:
      task: what the model was trained on.
      trained: what `fit_task` returned.
      run_file: gets the record.
      directory: becomes the SavedModel.
      plan: of the run, whose data simple models are fitted on, to be compared with; None: nothing is compared.

    Returns:
      The record: `finished_run`, and what the model reaches on the eval split: `retrieval` of towers and, beside
      baselines, `evaluation` of other models.

    Raises:
      GateRefused: the model misses `gate.min_gain_over_baseline`.
    """
    items = _catalogue(task, trained.model)
    figures = _retrieval(task, trained.model, items, plan)
    if plan is not None and not task.config.baselines:
        plan = None
    if plan is not None and not isinstance(trained.model, TowerModel):
        figures = {"evaluation": on_eval(plan, task, trained.model)}
    run = finished_run(task, trained) | figures
    write_text(run_file, json.dumps(run, indent=2) + "\n")
    if plan is not None:
        reasons = failed_gains(next(iter(figures.values()), {}), task.config.gate.min_gain_over_baseline)
        if reasons:
            raise GateRefused("the model gate", reasons, str(run_file))
    config = task.config
    export_model(
        directory,
        config.name,
        trained.model,
        task.transform,
        task.feature_set,
        config.record,
        run,
        task.warmup_examples,
        items,
    )
    return run


def _catalogue(task: Task, model: keras.Model) -> Catalogue | None:
    """Returns what towers retrieve from: all items of the train and eval splits and of tables, as they last were."""
    if not isinstance(model, TowerModel) or not task.raw_files:
        return None
    files = [file for split in task.raw_files.values() for file in split]
    return catalogue_of(files, task.feature_set, task.config.record, items=task.items)


def _retrieval(task: Task, model: keras.Model, items: Catalogue | None, plan: Plan | None) -> dict[str, Any]:
    """Returns what towers retrieve from all items for the users of the eval split, as `retrieval` of `run.json`.

    The items are those of the catalogue, with the values that they had when the eval split began: newer ones know of
    the clicks that are asked about. Empty for other models, and without a click.
    """
    files = task.raw_files.get("eval")
    if items is None or not files or not isinstance(model, TowerModel):
        return {}
    feature_set, record = task.feature_set, task.config.record
    served = ServedModel(model, task.transform, feature_set, record)
    then = catalogue_at(task.raw_files["train"], files, feature_set, record, task.items)
    towers = catalogued(ServedTowers(model, served.features, feature_set, record, then))
    columns = [column.name for column in user_columns(feature_set)]
    if plan is None:
        report = recall_of(towers, files, columns, feature_set, record)
    else:
        where = EvaluatedSplits(plan.data_dir, plan.dataset, feature_set, record, ("eval",))
        report = retrieval_report(where, towers, files, columns, baselines=task.config.baselines)
    return {"retrieval": {"split": "eval", **report}} if report else {}
