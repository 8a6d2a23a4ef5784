"""ImportExampleGen for our datasets: shards are verified and copied, not decoded, shuffled and written anew."""

import hashlib
import os
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from transforms.errors import InputError
from transforms.records import Dataset, load_dataset

_BLOCK_BYTES = 4 << 20


class CopyShards(base_beam_executor.BaseBeamExecutor):
    """Copies each input split's shards into the artifact and compares them with `dataset.json` on the way."""

    def Do(  # noqa: N802, the name is TFX's
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fills the `examples` artifact.

        Raises:
          InputError: a shard is damaged, or a file is there that `dataset.json` does not name.
        """
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        hashes = shard_hashes(load_dataset(os.path.dirname(base)))
        for split in config.splits:
            target = os.path.join(artifact.uri, f"Split-{split.name}")
            fileio.makedirs(target)
            for path in sorted(fileio.glob(os.path.join(base, split.pattern))):
                _copy_verified(path, os.path.join(target, os.path.basename(path)), hashes)
        artifact.split_names = artifact_utils.encode_split_names([split.name for split in config.splits])
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)


class RecordExampleGen(tfx.components.ImportExampleGen):
    """ImportExampleGen with `CopyShards` as its executor; input splits become output splits as they are."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(CopyShards)


def shard_hashes(dataset: Dataset) -> dict[str, str]:
    """Sha256 of each shard by `record/split/file`."""
    return {
        shard.path: shard.sha256
        for splits in dataset.records.values()
        for info in splits.values()
        for shard in info.shards
    }


def _copy_verified(path: str, target: str, hashes: dict[str, str]) -> None:
    name = os.path.join(*os.path.normpath(path).split(os.sep)[-3:])
    digest = hashlib.sha256()
    with fileio.open(path, "rb") as source, fileio.open(target, "wb") as copy:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            copy.write(block)
    if digest.hexdigest() != hashes.get(name):
        received = f"sha256 {digest.hexdigest()}"
        expected = f"sha256 {hashes[name]}" if name in hashes else "only files that dataset.json names"
        raise InputError(path, received, expected, "the file was damaged or changed: make the dataset again")
