"""tuner_fn of the TFX Tuner."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.components.trainer.fn_args_utils import FnArgs

from runs.config import RunConfig
from runs.tuning.space import trials_digest
from runs.tuning.trials import TrialData, TrialRunner
from runs.tuning.tuner import IsolatedTuner
from transforms.features import FeatureSet
from transforms.input import expand_patterns

_LOG = logging.getLogger(__name__)


def tuner_fn(fn_args: FnArgs) -> tfx.components.TunerFnResult:
    """Our tuner over the config's space, on Transform's output.

    Its trials lie under the pipeline's root, keyed by everything that they depend on: a search that was
    killed goes on when the same pipeline is started again.
    """
    properties: dict[str, Any] = fn_args.custom_config
    config = RunConfig.model_validate_json(properties["config"])
    data = TrialData(
        feature_set=FeatureSet.model_validate_json(properties["feature_set"]),
        transform=fn_args.transform_graph_path,
        train_files=expand_patterns(fn_args.train_files),
        eval_files=expand_patterns(fn_args.eval_files),
        dataset_sha256=properties["dataset_sha256"],
        raw_files=properties["raw_files"],
    )
    folder = Path(properties["tuning_root"]) / _key(config, properties, fn_args.transform_graph_path)
    runner = TrialRunner(folder, config, data, _LOG.info)
    return tfx.components.TunerFnResult(
        tuner=IsolatedTuner(config.tuning, config.seed, Path(fn_args.working_dir), runner, runner.close), fit_kwargs={}
    )


def _key(config: RunConfig, properties: dict[str, Any], transform: str) -> str:
    parts = [properties[name] for name in ("feature_set", "code_version", "dataset_sha256")]
    parts += properties["external_inputs"].values()
    return hashlib.sha256("\n".join([trials_digest(config), *parts, transform]).encode()).hexdigest()[:16]
