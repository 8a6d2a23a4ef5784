"""ImportExampleGen for our datasets: shards are verified and copied, not decoded, shuffled and written anew."""

import os
from collections.abc import Iterable
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.example_gen import driver, input_processor
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from transforms.files import escaped
from transforms.integrity import checked
from transforms.records import load_dataset, record_kind, shard_paths, split_named


class CopyShards(base_beam_executor.BaseBeamExecutor):
    """Copies each input split's shards into the artifact; a damaged record is found before anybody decodes it."""

    def Do(  # noqa: N802, the name is TFX's
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the `examples` artifact.

        Raises:
          InputError: a shard holds a damaged record.
        """
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        dataset_dir, record = os.path.split(base)
        dataset = load_dataset(dataset_dir)
        for split in (split_named(item.name) for item in config.splits):
            target = os.path.join(artifact.uri, f"Split-{split}")
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
    """ImportExampleGen with `CopyShards` as its executor; input splits become output splits as they are."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(CopyShards)
    DRIVER_CLASS = NamedFolderDriver
