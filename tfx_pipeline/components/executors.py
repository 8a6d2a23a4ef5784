"""TFX's Tuner and Pusher with executors of Consort."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.pusher import executor as pusher_executor
from tfx.components.trainer import fn_args_utils
from tfx.components.tuner import executor as tuner_executor
from tfx.components.util import udf_utils
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from runs.config import RunConfig
from runs.provenance import run_info
from runs.tuning.report import report_of
from runs.tuning.tuner import IsolatedTuner
from serving.versions import publish, versions_in
from transforms.errors import ConsortError
from transforms.files import folder_sha256, write_text
from transforms.locks import locked
from transforms.mounts import mounted

REPORT = "tuning.json"
FAILED_TRIALS, COMPLETED_TRIALS = "failed_trials", "completed_trials"
"""Properties of the `tuner_results` artifact."""
_PATIENCE_S = 600.0
"""Seconds to wait for another export to the same folder, before a model that was trained for hours is given up."""

_LOG = logging.getLogger(__name__)
# TFX names `Do` and its arguments.
_Artifacts = dict[str, list[types.Artifact]]


class SearchTrials(tuner_executor.Executor):
    """Searches with the tuner of `tuner_fn`, an IsolatedTuner: stops the run if every trial failed, counts failures."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
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
            properties: dict[str, Any] = mounted(fn_args.custom_config)
            config = RunConfig.model_validate_json(properties["config"])
            report = report_of(tuner, config, run_info(config, properties["source"], properties["dataset_sha256"]))
            write_text(Path(properties["report_dir"]) / REPORT, json.dumps(report, indent=2) + "\n")
            for trial in report["trials"]:
                if trial["reason"]:
                    _LOG.warning("trial %s failed: %s", trial["trial"], trial["reason"])
        tuner_executor.write_best_hyperparameters(tuner, output_dict)
        results = artifact_utils.get_single_instance(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        results.set_int_custom_property(FAILED_TRIALS, tuner.failed)
        results.set_int_custom_property(COMPLETED_TRIALS, len(tuner.outcomes) - tuner.failed)


class IsolatedTunerNode(tfx.components.Tuner):
    """Tuner with `SearchTrials` as its executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SearchTrials)


class PublishVersion(pusher_executor.Executor):
    """Pushes a blessed model by `serving.versions.publish`: a version is complete when a server first sees it.

    A model that is the newest version already is not pushed again: a copy of it would take the place of a version that
    one could go back to.
    """

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        custom = exec_properties.get("custom_config") or "{}"
        keep = (json.loads(custom) if isinstance(custom, str) else custom).get("keep_versions")
        for artifact in input_dict[standard_component_specs.MODEL_KEY]:
            artifact.uri = mounted(artifact.uri)
        model, base = self.GetModelPath(input_dict), mounted(destination.filesystem.base_directory)
        with locked(base, _PATIENCE_S):
            newest = [directory for _, directory in versions_in(base)][-1:]
            same = (directory for directory in newest if folder_sha256(directory) == folder_sha256(model))
            target = next(same, None) or publish(model, base, keep)
        self._MarkPushed(pushed, pushed_destination=os.fspath(target), pushed_version=target.name)


class AtomicPusher(tfx.components.Pusher):
    """Pusher with `PublishVersion` as its executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PublishVersion)
