"""Train without TFX: the same transform, training and export, in one folder that a killed run continues."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from consort.config import RunConfig
from models.cotraining.base import Trained
from tfx_pipeline.distributed import Part
from tfx_pipeline.plan import LOG_DIR, Plan, make_plan
from tfx_pipeline.provenance import run_info
from tfx_pipeline.run_folder import claim, is_claimed, run_identity
from tfx_pipeline.training import (
    CHECKPOINT_DIR,
    GOLDEN_COUNT,
    RUN_FILE,
    Task,
    catalogue,
    export,
    finished_run,
    recipe_of,
    retrieval_metrics,
    train,
)
from transforms.beam.credentials import check_credentials
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.errors import InputError
from transforms.features import Split
from transforms.files import write_text
from transforms.input import first_examples
from transforms.integrity import check_values
from transforms.locks import check_unlocked, locked
from transforms.records import shard_paths

CONFIG_FILE, MODEL_DIR, TRANSFORMED_DIR = "config.yaml", "model", "transformed"


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
      say: is told what happens.

    Returns:
      The content of `run.json`; of a parameter server or its worker an empty one.

    Raises:
      InputError: the data does not fit the run or holds a value that its column cannot have, `out` holds another
        run or one is at work there, or TF_CONFIG does not describe one.
      ConsortError: the loss is not a finite number, or another process is gone.
    """
    part = Part(config.training.distribution, say)
    if part.is_chief:
        check_unlocked(out)
    if part.serves:
        part.serve(lambda: (Path(out) / MODEL_DIR).exists())
        return {"seed": config.seed, "training": {"history": []}}
    with part.begun(), contextlib.ExitStack() as stack:
        plan = make_plan(config, data_dir, out)
        if part.is_chief:
            check_credentials(config.pipeline.beam_args)
            stack.enter_context(locked(plan.root))
        info = run_info(config, plan.dataset.source, plan.dataset.sha256, plan.teacher) | dict(plan.caches)
        transformed = plan.root / TRANSFORMED_DIR
        if part.is_chief:
            _prepare(plan, info, transformed, say)
        else:
            say("waiting for the transformed data")
            part.wait_until(lambda: _is_claimed(plan.root, info) and transformed.exists())
        say("training")
        task = _task(plan, transformed, info)
        trained = _train(task, plan.root, part, say)
        run = finished_run(task, trained)
        if part.is_chief:
            items = catalogue(task, trained.model)
            run |= retrieval_metrics(task, trained.model, items)
            say("exporting")
            # The model is the sign of a finished run, so it comes last.
            write_text(plan.root / RUN_FILE, json.dumps(run, indent=2) + "\n")
            export(task, trained.model, run, plan.root / MODEL_DIR, items)
        else:
            say("waiting for the exported model")
            part.wait_until(lambda: (plan.root / MODEL_DIR).exists())
    return run


def _prepare(plan: Plan, info: dict[str, Any], transformed: Path, say: Callable[[str], None]) -> None:
    """Checks the data's values, claims the run's folder and transforms the data, unless an earlier start did so."""
    if plan.changed_shards:
        say(f"{len(plan.changed_shards)} shards are no longer what dataset.json says; taken as they are")
    if not transformed.exists():
        check_values(plan.data_dir, plan.dataset, plan.config.record, plan.splits)
    _claim(plan.root, info)
    write_text(plan.root / CONFIG_FILE, plan.config.to_yaml())
    _transform(plan, transformed, say)


def _transform(plan: Plan, transformed: Path, say: Callable[[str], None]) -> None:
    if not transformed.exists():
        say("transforming")
        record, beam_args = plan.config.record, plan.config.pipeline.beam_args
        # What is read in the order of time is transformed as it is read.
        splits: tuple[Split, ...] = () if recipe_of(plan.config).in_time_order else ("train", "eval")
        transform_dataset(
            plan.data_dir, plan.dataset, transformed, plan.feature_set, record, splits, beam_args=beam_args
        )


def _train(task: Task, root: Path, part: Part, say: Callable[[str], None]) -> Trained:
    try:
        return train(task, root / CHECKPOINT_DIR, part.strategy(), say, root / LOG_DIR)
    except tf.errors.DataLossError as error:
        fix = "delete that folder; the same command makes it again"
        raise InputError(
            str(root / TRANSFORMED_DIR), f"a damaged record ({error.message})", "whole records", fix
        ) from error


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
        warmup_examples=first_examples(raw, GOLDEN_COUNT),
        teacher=plan.teacher,
    )


def _claim(root: Path, info: dict[str, Any]) -> None:
    """Makes `root` this run's folder, or refuses if it is another's or finished."""
    if not _is_claimed(root, info):
        claim(root, RUN_FILE, run_identity(info), info, "run")


def _is_claimed(root: Path, info: dict[str, Any]) -> bool:
    """Whether `root` is this run's folder already; refuses if it is another's or finished."""
    if not is_claimed(root, RUN_FILE, run_identity(info), "run", info):
        return False
    if (root / MODEL_DIR).exists():
        raise InputError(str(root), "a finished run", "a new folder, or an unfinished run", "choose another --out")
    return True
