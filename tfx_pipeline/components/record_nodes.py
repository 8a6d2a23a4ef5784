"""TFX's ExampleGen, StatisticsGen and Transform with executors of Consort, which read and write records in batches.

What Beam's workers read and write keeps its URI: they have no bucket mounted.
"""

import os
from collections.abc import Iterable
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_transform.tf_metadata import schema_utils
from tfx import types
from tfx import v1 as tfx
from tfx.components.example_gen import driver, input_processor
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, range_config_pb2, transform_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, json_utils, proto_utils

from transforms.beam.record_files import ReadBatches, whatever
from transforms.beam.transform_dataset import learn_and_apply
from transforms.files import escaped
from transforms.integrity import checked
from transforms.mounts import mounted
from transforms.records import load_dataset, record_kind, shard_paths, split_named

_SPLIT = "Split-{}"
_STATISTICS = "FeatureStats.pb"
"""The name that TFX knows."""
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


class ComputeStatistics(base_beam_executor.BaseBeamExecutor):
    """Computes the statistics of every split by TensorFlow Data Validation."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Fills the `statistics` artifact."""
        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        written = artifact_utils.get_single_instance(output_dict[standard_component_specs.STATISTICS_KEY])
        spec = schema_utils.schema_as_feature_spec(_schema(input_dict)).feature_spec
        options = tfdv.StatsOptions.from_json(exec_properties[standard_component_specs.STATS_OPTIONS_JSON_KEY])
        # What is left out need not be parsed.
        rate, options.sample_rate = options.sample_rate or 1.0, None
        with self._make_beam_pipeline() as pipeline:
            for split in artifact_utils.decode_split_names(examples.split_names):
                folder = os.path.join(written.uri, _SPLIT.format(split))
                fileio.makedirs(folder)
                _ = (
                    pipeline
                    | f"Read {split}" >> ReadBatches(_files(examples.uri, split), whatever(spec, rate))
                    | f"Compute {split}" >> tfdv.GenerateStatistics(options)
                    | f"Write {split}" >> tfdv.WriteStatisticsToBinaryFile(os.path.join(folder, _STATISTICS))
                )
        written.split_names, written.span = examples.split_names, examples.span


class RecordStatistics(tfx.components.StatisticsGen):
    """StatisticsGen with `ComputeStatistics` as its executor. By the schema it only reads."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ComputeStatistics)


class LearnAndApply(base_beam_executor.BaseBeamExecutor):
    """Learns the transform from the analyzed splits and applies it, as `consort train` does."""

    def Do(self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Fills the `transform_graph` and `transformed_examples` artifacts."""
        config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        splits = transform_pb2.SplitsConfig()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.SPLITS_CONFIG_KEY], splits)
        examples = artifact_utils.get_single_uri(input_dict[standard_component_specs.EXAMPLES_KEY])
        graph = artifact_utils.get_single_uri(output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY])
        written = artifact_utils.get_single_instance(output_dict[standard_component_specs.TRANSFORMED_EXAMPLES_KEY])
        work = os.path.join(graph, ".work")
        with self._make_beam_pipeline() as pipeline:
            learn_and_apply(
                pipeline,
                analyzed=[file for split in splits.analyze for file in _files(examples, split)],
                transformed={
                    os.path.join(written.uri, _SPLIT.format(split)): _files(examples, split)
                    for split in splits.transform
                },
                schema=_schema(input_dict),
                config=config,
                graph=graph,
                work=work,
            )
        fileio.rmtree(work)
        written.split_names = artifact_utils.encode_split_names(list(splits.transform))
        examples_utils.set_payload_format(written, example_gen_pb2.FORMAT_TF_EXAMPLE)


class RecordTransform(tfx.components.Transform):
    """Transform with `LearnAndApply` as its executor."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(LearnAndApply)


def _schema(input_dict: _Artifacts) -> Any:
    folder = artifact_utils.get_single_uri(input_dict[standard_component_specs.SCHEMA_KEY])
    return io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(folder))


def _files(examples: str, split: str) -> list[str]:
    folder = os.path.join(examples, _SPLIT.format(split))
    return [os.path.join(folder, name) for name in sorted(fileio.listdir(folder))]
