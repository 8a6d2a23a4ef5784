"""TFX's Tuner around ours: a search that found nothing stops the run, and failed trials are counted."""

import json
import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.trainer import fn_args_utils
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner import executor
from tfx.components.util import udf_utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs

from runs.config import RunConfig
from runs.provenance import run_info
from runs.tuning.report import report_of
from runs.tuning.tuner import IsolatedTuner
from transforms.errors import ConsortError
from transforms.files import write_text

REPORT = "tuning.json"
FAILED_TRIALS, COMPLETED_TRIALS = "failed_trials", "completed_trials"
"""Properties of the `tuner_results` artifact."""

_LOG = logging.getLogger(__name__)


class SearchTrials(executor.Executor):
    """Searches with the tuner of `tuner_fn`, which must be ours."""

    def Do(  # noqa: N802, the name is TFX's
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills `best_hyperparameters` and `tuner_results`, and writes `report_dir/tuning.json`.

        Raises:
          ConsortError: every trial failed, or the tuner is another one, which would let that pass.
        """
        fn_args = fn_args_utils.get_common_fn_args(input_dict, exec_properties, self._get_tmp_dir())
        tuner = udf_utils.get_fn(exec_properties, "tuner_fn")(fn_args).tuner
        if not isinstance(tuner, IsolatedTuner):
            raise ConsortError(
                f"tuner_fn gave a {type(tuner).__name__}; expected an IsolatedTuner: Keras Tuner's own tuners refuse "
                "tf_keras models and pass over failed trials. Fix: let tuner_fn give one of ours"
            )
        try:
            tuner.search()
        finally:
            _report(tuner, fn_args)
        executor.write_best_hyperparameters(tuner, output_dict)
        results = artifact_utils.get_single_instance(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        results.set_int_custom_property(FAILED_TRIALS, tuner.failed)
        results.set_int_custom_property(COMPLETED_TRIALS, len(tuner.outcomes) - tuner.failed)


class IsolatedTunerNode(tfx.components.Tuner):
    """Tuner with `SearchTrials` as its executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SearchTrials)


def _report(tuner: IsolatedTuner, fn_args: FnArgs) -> None:
    properties: dict[str, Any] = fn_args.custom_config
    config = RunConfig.model_validate_json(properties["config"])
    found = report_of(tuner, config, run_info(config, properties["source"], properties["dataset_sha256"]))
    write_text(Path(properties["report_dir"]) / REPORT, json.dumps(found, indent=2) + "\n")
    for trial in found["trials"]:
        if trial["reason"]:
            _LOG.warning("trial %s failed: %s", trial["trial"], trial["reason"])
