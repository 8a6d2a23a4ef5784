"""Run the pipeline in this process by TFX's local runner, and report what came of it."""

import datetime
import functools
import shutil
import time
from collections.abc import Callable
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.utils import dependency_utils

from runs.plan import Plan
from runs.workers import check_one_process
from serving.versions import versions_in
from tfx_pipeline.components.model_gate import REPORT, SUMMARY
from tfx_pipeline.pipeline import create_data_pipeline, create_pipeline
from transforms.beam.runners import check_runner
from transforms.errors import ConsortError
from transforms.locks import locked
from transforms.plain_text import parse_json
from transforms.progress import clock

UNCACHED = frozenset({"AnomalyGate", "ModelGate", "Pusher"})
"""Nodes that write outside of the metadata's sight, where others may have written since: always run, and quick."""

OnNode = Callable[[str, float], None]

# For each node that runs Beam, TFX builds a package of itself, which takes seconds; one is enough for a process.
dependency_utils.build_ephemeral_package = functools.cache(dependency_utils.build_ephemeral_package)


def run_pipeline(plan: Plan, on_node: OnNode = lambda name, seconds: None) -> dict[str, Any]:
    """Runs the pipeline with TFX's local runner.

    Args:
      plan: what to run.
      on_node: called with a node's name and its seconds when it ends.

    Returns:
      `seconds` by node; `model`: the directory of the newest version; `version`; `new`: True if this run pushed it,
      False if it was this very model already; `metrics` and, of the model that was served before, `baseline`;
      `evaluation`, the model beside simple ones; `gate`, the verdict; and `report`, its file.

    Raises:
      InputError: training is to be spread over several processes, another run is at work in the root, or there are
        no credentials for Beam's runner.
      GateRefused: rejected by a validation gate; its report is under `root/reports`.
      ConsortError: a node failed.
    """
    check_one_process(plan.config, "in a pipeline")
    before = {number for number, _ in versions_in(plan.serving_base)}
    seconds = _run(plan, create_pipeline(plan), on_node)
    number, directory = versions_in(plan.serving_base)[-1]
    verdict = parse_json((plan.reports_dir / SUMMARY).read_text())
    return {
        "seconds": seconds,
        "model": str(directory),
        "version": number,
        "new": number not in before,
        "metrics": verdict["metrics"],
        "baseline": verdict["baseline"],
        "evaluation": verdict["evaluation"],
        "gate": "passed" if verdict["passed"] else "rejected",
        "report": str(plan.reports_dir / REPORT),
    }


def run_data_half(plan: Plan, on_node: OnNode = lambda name, seconds: None) -> dict[str, float]:
    """Runs the pipeline up to transform; returns seconds by node."""
    return _run(plan, create_data_pipeline(plan), on_node)


def _run(plan: Plan, pipeline: tfx.dsl.Pipeline, on_node: OnNode) -> dict[str, float]:
    check_runner(plan.config.pipeline.beam_args)
    seconds: dict[str, float] = {}

    def watch(name: str, elapsed: float) -> None:
        seconds[name] = elapsed
        on_node(name, elapsed)

    with locked(plan.root):
        _remove_failed_executions(plan)
        try:
            _WatchedDagRunner(watch).run(pipeline)
        except Exception as error:
            raise _readable(error) from error
    return seconds


def _readable(error: Exception) -> ConsortError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConsortError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return ConsortError(f"the pipeline failed: {type(error).__name__}: {str(error)[:2000]}")


def _remove_failed_executions(plan: Plan) -> None:
    """Removes the artifact folders of executions that failed or were killed; no run may be under way.

    No later run reads them: the metadata knows only complete artifacts. Checkpoints lie elsewhere and stay.
    """
    if not plan.metadata_file.is_file():
        return
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(plan.metadata_file)
    executions = metadata_store.MetadataStore(config).get_executions()
    complete = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
    unfinished = {str(execution.id) for execution in executions if execution.last_known_state not in complete}
    # TFX writes to <node>/<output>/<execution>, and to <node>/.system.
    for folder in [*plan.artifacts_dir.glob("*/*/*"), *plan.artifacts_dir.glob("*/.system/*/*")]:
        if folder.name in unfinished and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


class _WatchedDagRunner(tfx.orchestration.LocalDagRunner):
    """Runs nodes one after the other in this process, as LocalDagRunner does, and reports each.

    Its own log lines cannot be relied on for progress: libraries below change the log level as they run.

    Args:
      on_node: called with a node's id and its seconds when it ends.
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
            raise ValueError("received run_options; expected none: partial runs need tfx.orchestration.LocalDagRunner")
        run_id = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()}
        runtime_parameter_utils.substitute_runtime_parameter(pipeline, run_id)
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        kind = deployment.metadata_connection_config.WhichOneof("connection_config")
        connection = getattr(deployment.metadata_connection_config, kind)
        for node in (node.pipeline_node for node in pipeline.nodes):
            name, started = node.node_info.id, time.monotonic()
            if name in UNCACHED:
                node.execution_options.caching_options.enable_cache = False
            launched = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            )
            with clock(name):
                launched.launch()
            self._on_node(name, time.monotonic() - started)
