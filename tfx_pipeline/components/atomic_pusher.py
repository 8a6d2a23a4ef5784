"""Pusher whose versions are whole when a server first sees them."""

import json
import os
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.pusher import executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from serving.versions import publish, versions_in
from transforms.files import folder_sha256
from transforms.locks import locked

_PATIENCE_S = 600.0
"""So long an export to the same folder may take, before a model that was trained for hours is given up."""


class PublishVersion(executor.Executor):
    """Pushes a blessed model by `serving.versions.publish` instead of copying into the numbered directory.

    A model that is the newest version already is not pushed again: a copy of it would take the place of a version that
    one could go back to.
    """

    def Do(  # noqa: N802, the name is TFX's
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        custom = exec_properties.get("custom_config") or "{}"
        keep = (json.loads(custom) if isinstance(custom, str) else custom).get("keep_versions")
        model, base = self.GetModelPath(input_dict), destination.filesystem.base_directory
        with locked(base, _PATIENCE_S):
            target = _as_it_is_served(model, base) or publish(model, base, keep)
        self._MarkPushed(pushed, pushed_destination=os.fspath(target), pushed_version=target.name)


def _as_it_is_served(model: str, base: str) -> Path | None:
    """The newest version, if it is this very model."""
    newest = [directory for _, directory in versions_in(base)][-1:]
    return next((directory for directory in newest if folder_sha256(directory) == folder_sha256(model)), None)


class AtomicPusher(tfx.components.Pusher):
    """Pusher with `PublishVersion` as its executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PublishVersion)
