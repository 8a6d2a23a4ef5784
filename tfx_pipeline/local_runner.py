"""TFX's local runner, telling when each node starts and ends."""

import datetime
import time
from collections.abc import Callable

from tfx import v1 as tfx
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

UNCACHED = frozenset({"AnomalyGate", "ModelGate", "Pusher"})
"""Nodes that write outside of the metadata's sight, where others may have written since: always run, and quick."""

OnNode = Callable[[str, float | None], None]


class WatchedDagRunner(tfx.orchestration.LocalDagRunner):
    """Runs nodes one after the other in this process, as LocalDagRunner does.

    Its own log lines cannot be relied on for progress: libraries below change the log level as they run.

    Args:
      on_node: called with a node's id and None when it starts, and with its seconds when it ends.
    """

    def __init__(self, on_node: OnNode):
        super().__init__()
        self._on_node = on_node

    def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None) -> None:
        """Runs a compiled pipeline.

        Raises:
          ValueError: `run_options` is given; partial runs are not for this runner.
        """
        if run_options is not None:
            raise ValueError(
                "received run_options; expected none: use tfx.orchestration.LocalDagRunner for partial runs"
            )
        run_id = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, run_id)
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        kind = deployment.metadata_connection_config.WhichOneof("connection_config")
        connection = getattr(deployment.metadata_connection_config, kind)
        for node in (node.pipeline_node for node in pipeline.nodes):
            name, started = node.node_info.id, time.monotonic()
            if name in UNCACHED:
                node.execution_options.caching_options.enable_cache = False
            self._on_node(name, None)
            launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
            self._on_node(name, time.monotonic() - started)
