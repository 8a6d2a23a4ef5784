"""TFX's ExampleGen, Transform, Tuner and Pusher with executors of Consort."""

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.example_gen import driver, input_processor
from tfx.components.pusher import executor as pusher_executor
from tfx.components.trainer import fn_args_utils
from tfx.components.tuner import executor as tuner_executor
from tfx.components.util import examples_utils, udf_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, pusher_pb2, range_config_pb2, transform_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, json_utils, proto_utils

from runs.config import RunConfig
from runs.provenance import run_info
from runs.tuning.report import report_of
from runs.tuning.tuner import IsolatedTuner
from serving.versions import publish, versions_in
from transforms.beam.transform_dataset import learn_and_apply
from transforms.errors import ConsortError
from transforms.files import escaped, folder_sha256, write_text
from transforms.integrity import checked
from transforms.locks import locked
from transforms.mounts import mounted
from transforms.records import load_dataset, record_kind, shard_paths, split_named

REPORT = "tuning.json"
FAILED_TRIALS, COMPLETED_TRIALS = "failed_trials", "completed_trials"
"""Properties of the `tuner_results` artifact."""
_SPLIT = "Split-{}"
_PATIENCE_S = 600.0
"""Seconds to wait for another export to the same folder, before a model that was trained for hours is given up."""

_LOG = logging.getLogger(__name__)
# TFX names `Do` and its arguments.
_Artifacts = dict[str, list[types.Artifact]]


class CopyShards(base_beam_executor.BaseBeamExecutor):
    """Copies each input split's shards into the artifact; a damaged record is found before anybody decodes it."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Fills the `examples` artifact.

        Raises:
          InputError: a shard holds a damaged record.
        """
        base = mounted(exec_properties[standard_component_specs.INPUT_BASE_KEY])
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        dataset_dir, record = os.path.split(base)
        dataset = load_dataset(dataset_dir)
        for split in (split_named(item.name) for item in config.splits):
            target = os.path.join(mounted(artifact.uri), _SPLIT.format(split))
            fileio.makedirs(target)
            checked(dataset_dir, dataset, record_kind(record), [split])
            for path in shard_paths(dataset_dir, dataset, record_kind(record), split):
                fileio.copy(path, os.path.join(target, os.path.basename(path)))
        artifact.split_names = artifact_utils.encode_split_names([split.name for split in config.splits])
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)


class NamedFolderDriver(driver.FileBasedDriver):
    """Takes the input's folder for a name: as a pattern it could mean other files, or none, whatever changes in it."""

    def get_input_processor(
        self,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
        input_base_uri: str | None = None,
    ) -> input_processor.InputProcessor:
        """The processor whose fingerprint covers the files of that very folder."""
        return super().get_input_processor(splits, range_config, escaped(input_base_uri or ""))


class RecordExampleGen(tfx.components.ImportExampleGen):
    """Verifies and copies shards, where ImportExampleGen decodes, shuffles and writes them anew.

    Input splits become output splits as they are.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(CopyShards)
    DRIVER_CLASS = NamedFolderDriver


class LearnAndApply(base_beam_executor.BaseBeamExecutor):
    """Learns the transform from the analyzed splits and applies it, as `consort train` does."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Fills the `transform_graph` and `transformed_examples` artifacts."""
        config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        splits = transform_pb2.SplitsConfig()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.SPLITS_CONFIG_KEY], splits)
        examples = mounted(artifact_utils.get_single_uri(input_dict[standard_component_specs.EXAMPLES_KEY]))
        schema = mounted(artifact_utils.get_single_uri(input_dict[standard_component_specs.SCHEMA_KEY]))
        graph = mounted(artifact_utils.get_single_uri(output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY]))
        written = artifact_utils.get_single_instance(output_dict[standard_component_specs.TRANSFORMED_EXAMPLES_KEY])
        work = os.path.join(graph, ".work")
        with self._make_beam_pipeline() as pipeline:
            learn_and_apply(
                pipeline,
                analyzed=[file for split in splits.analyze for file in _files(examples, split)],
                transformed={
                    os.path.join(mounted(written.uri), _SPLIT.format(split)): _files(examples, split)
                    for split in splits.transform
                },
                schema=io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema)),
                config=config,
                graph=graph,
                work=work,
            )
        fileio.rmtree(work)
        written.split_names = artifact_utils.encode_split_names(list(splits.transform))
        examples_utils.set_payload_format(written, example_gen_pb2.FORMAT_TF_EXAMPLE)


def _files(examples: str, split: str) -> list[str]:
    folder = os.path.join(examples, _SPLIT.format(split))
    return [os.path.join(folder, name) for name in sorted(fileio.listdir(folder))]


class RecordTransform(tfx.components.Transform):
    """Transform with `LearnAndApply` as its executor."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(LearnAndApply)


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
