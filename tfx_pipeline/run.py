"""Run the pipeline here, quietly, and say what came of it."""

from typing import Any

from tfx import v1 as tfx

from runs.plan import Plan, write_schema
from runs.workers import check_one_process
from serving.versions import versions_in
from tfx_pipeline.leftovers import remove_failed_executions
from tfx_pipeline.local_runner import OnNode, WatchedDagRunner
from tfx_pipeline.pipeline import create_data_pipeline, create_pipeline
from transforms.beam.credentials import check_credentials
from transforms.errors import ConsortError
from transforms.locks import locked


def run_pipeline(plan: Plan, on_node: OnNode = lambda name, seconds: None) -> dict[str, Any]:
    """Runs the pipeline with TFX's local runner.

    Args:
      plan: what to run.
      on_node: called with a node's name and None when it starts, and with its seconds when it ends.

    Returns:
      `model`: the directory of the newest version; `version`; `new`: whether this run pushed it, or it was this very
      model already; `seconds` by node.

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
    return {"model": str(directory), "version": number, "new": number not in before, "seconds": seconds}


def run_data_half(plan: Plan, on_node: OnNode = lambda name, seconds: None) -> dict[str, float]:
    """Runs the pipeline up to transform; returns seconds by node."""
    return _run(plan, create_data_pipeline(plan), on_node)


def _run(plan: Plan, pipeline: tfx.dsl.Pipeline, on_node: OnNode) -> dict[str, float]:
    check_credentials(plan.config.pipeline.beam_args)
    with locked(plan.root):
        remove_failed_executions(plan.artifacts_dir, plan.metadata_file)
        write_schema(plan)
        return _run_nodes(pipeline, on_node)


def _run_nodes(pipeline: tfx.dsl.Pipeline, on_node: OnNode) -> dict[str, float]:
    seconds: dict[str, float] = {}

    def watch(name: str, took: float | None) -> None:
        if took is not None:
            seconds[name] = took
        on_node(name, took)

    try:
        WatchedDagRunner(watch).run(pipeline)
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
