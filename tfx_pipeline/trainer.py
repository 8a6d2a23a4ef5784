"""What TFX calls by name to train: run_fn of the Trainer and tuner_fn of the Tuner."""

import copy
import hashlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.components.trainer.fn_args_utils import FnArgs

from models.cotraining.external_inputs import RunFacts
from runs.config import RunConfig
from runs.data import Task
from runs.external_inputs import checked_inputs
from runs.fitting import fit_task
from runs.provenance import RUN_FILE, run_info
from runs.train import GOLDEN_COUNT, export_run
from runs.tuning.space import trials_digest, tuned
from runs.tuning.trials import TrialData, TrialRunner
from runs.tuning.tuner import IsolatedTuner
from transforms.features import FeatureSet
from transforms.input import expand_patterns, first_examples
from transforms.mounts import mounted
from transforms.records import Items
from transforms.transform_graph import read_transform

_LOG = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains on Transform's output, exports for serving, and leaves `run.json` beside the model.

    Checkpoints lie under the pipeline's root, keyed by everything that the model depends on: a run that was killed
    continues from its last checkpoint when the same pipeline is started again. TensorBoard's event files stay there.
    """
    fn_args = _mounted(fn_args)
    properties: dict[str, Any] = fn_args.custom_config
    written = RunConfig.model_validate_json(properties["config"])
    config = tuned(written, fn_args.hyperparameters)
    feature_set = FeatureSet.model_validate_json(properties["feature_set"])
    # The inputs are checked again: this process may be another one, and work long after the plan was made.
    inputs = checked_inputs(RunFacts(config, feature_set, properties["dataset_sha256"], properties["first_time"]))
    info = run_info(config, properties["source"], properties["dataset_sha256"], inputs)
    # What the plan recorded must still hold, unless the search has chosen other inputs.
    recorded = properties["external_inputs"] if config.recipe == written.recipe else {}
    task = Task(
        config=config,
        feature_set=feature_set,
        transform=read_transform(fn_args.transform_output),
        train_files=expand_patterns(fn_args.train_files),
        eval_files=expand_patterns(fn_args.eval_files),
        # The other sections are not known here, and a later run may change them without training anew.
        run={**info, **recorded, "config": config.training_values()},
        raw_files=properties["raw_files"],
        items=_items(properties),
        warmup_examples=first_examples(properties["warmup_files"], GOLDEN_COUNT),
        inputs=inputs,
        first_time=properties["first_time"],
    )
    known = recorded or {one.identity_key: info[one.identity_key] for one in inputs}
    key = _key(config.digest(), {**properties, "external_inputs": known}, fn_args.transform_output)
    checkpoint_dir = Path(properties["checkpoint_root"]) / key
    trained = fit_task(task, checkpoint_dir, log_dir=Path(properties["log_root"]) / f"{config.name}-{key}")
    export_run(task, trained, Path(fn_args.model_run_dir) / RUN_FILE, fn_args.serving_model_dir)
    shutil.rmtree(checkpoint_dir, ignore_errors=True)


def tuner_fn(fn_args: FnArgs) -> tfx.components.TunerFnResult:
    """Returns a tuner over the config's space, on Transform's output.

    Its trials lie under the pipeline's root, keyed by everything that they depend on: a search that was
    killed continues when the same pipeline is started again.
    """
    fn_args = _mounted(fn_args)
    properties: dict[str, Any] = fn_args.custom_config
    config = RunConfig.model_validate_json(properties["config"])
    data = TrialData(
        feature_set=FeatureSet.model_validate_json(properties["feature_set"]),
        transform=fn_args.transform_graph_path,
        train_files=expand_patterns(fn_args.train_files),
        eval_files=expand_patterns(fn_args.eval_files),
        dataset_sha256=properties["dataset_sha256"],
        raw_files=properties["raw_files"],
        items=_items(properties),
        first_time=properties["first_time"],
    )
    key = _key(trials_digest(config), properties, fn_args.transform_graph_path)
    runner = TrialRunner(Path(properties["tuning_root"]) / key, config, data, _LOG.info)
    return tfx.components.TunerFnResult(
        tuner=IsolatedTuner(config.tuning, config.seed, Path(fn_args.working_dir), runner, runner.close), fit_kwargs={}
    )


def _mounted(fn_args: FnArgs) -> FnArgs:
    """Returns the same arguments with paths that this process can open."""
    result = copy.copy(fn_args)
    for name, value in vars(fn_args).items():
        setattr(result, name, mounted(value))
    return result


def _items(properties: Mapping[str, Any]) -> Items | None:
    return Items.model_validate(properties["items"]) if properties["items"] else None


def _key(digest: str, properties: Mapping[str, Any], transform: str) -> str:
    parts = [digest, *(properties[name] for name in ("feature_set", "code_version", "dataset_sha256"))]
    parts += [*properties["external_inputs"].values(), transform]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
