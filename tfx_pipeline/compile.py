"""Compile the pipeline for Vertex AI or Kubeflow Pipelines: a KFP v2 spec in which every path is remote."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow

from runs.config import RunConfig, with_values
from runs.plan import Plan, check_run
from tfx_pipeline import nodes
from tfx_pipeline.pipeline import create_pipeline
from tfx_pipeline.run import UNCACHED
from transforms.errors import InputError
from transforms.files import replacing_file

Orchestrator = Literal["vertex", "kubeflow"]

_ROOT = Path("/consort-compile-root")
"""Stands for the remote root while the nodes are made."""
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+(/.*)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


def compile_pipeline(
    config: RunConfig,
    data: str | os.PathLike[str],
    data_uri: str,
    root_uri: str,
    image: str,
    orchestrator: Orchestrator,
) -> dict[str, Any]:
    """Returns the pipeline as a spec of Kubeflow Pipelines v2; runs nothing and writes nothing.

    The nodes are those of a local run, but for the one that finds an earlier model: Kubeflow Pipelines can resolve the
    model that was blessed last, not the one that is served.

    Args:
      config: the run. `precision: auto` is float32, as the machine that will train is not known.
      data: the dataset, to check the run by.
      data_uri: where the pipeline reads the same dataset.
      root_uri: everything that the pipeline writes lies below it.
      image: container image with Consort, which every node runs in.
      orchestrator: `vertex`, a job (PipelineJob) with its root on Cloud Storage; or `kubeflow`, a spec (PipelineSpec).

    Raises:
      InputError: the run does not fit its data, the recipe takes external inputs, or a path or name is not valid there.
    """
    name = _valid_name(config)
    for option, uri in (("--data-uri", data_uri), ("--root", root_uri)):
        _check_uri(option, uri, orchestrator)
    dataset, changed, inputs = check_run(config, data)
    if inputs:
        expected = "a recipe that trains on its dataset alone: the files of an earlier run have no remote path"
        fix = "train this recipe by `consort train` or `consort pipeline run`"
        raise InputError("recipe.options", ", ".join(one.option for one in inputs), expected, fix)
    if config.training.precision == "auto":
        config = with_values(config, {"training.precision": "float32"})
    folder = Path(os.path.abspath(data))
    pipeline = create_pipeline(Plan(config, folder, dataset, _ROOT, changed), nodes.latest_blessed_model)
    pipeline.pipeline_info.pipeline_name = name
    settings = kubeflow.KubeflowV2DagRunnerConfig(default_image=image, use_pipeline_spec_2_1=True)
    job = kubeflow.KubeflowV2DagRunner(settings).run(pipeline, write_out=False)
    for task, spec in job["pipelineSpec"]["root"]["dag"]["tasks"].items():
        if task in UNCACHED:
            spec["cachingOptions"] = {}
    job = _relocated(job, {folder: data_uri.rstrip("/"), _ROOT: root_uri.rstrip("/")})
    check_spec(job)
    return job if orchestrator == "vertex" else job["pipelineSpec"]


def write_spec(spec: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a compiled spec as JSON, or as YAML if `path` ends in .yaml or .yml."""
    with replacing_file(path) as temporary:
        if Path(path).suffix in (".yaml", ".yml"):
            temporary.write_text(yaml.safe_dump(spec, sort_keys=True))
        else:
            temporary.write_text(json.dumps(spec, indent=2, sort_keys=True) + "\n")


def check_spec(job: dict[str, Any]) -> None:
    """Checks the references of a compiled job, and that it names nothing local.

    Raises:
      ValueError: a reference of it leads nowhere, or it holds a path of this machine.
    """
    spec = job["pipelineSpec"]
    tasks, executors = spec["root"]["dag"]["tasks"], spec["deploymentSpec"]["executors"]
    for name, task in tasks.items():
        component = spec["components"].get(task["componentRef"]["name"], {})
        if component.get("executorLabel") not in executors:
            raise ValueError(f"task {name} of the compiled pipeline has no component with an executor")
        missing = [other for other in task.get("dependentTasks", ()) if other not in tasks]
        if missing:
            raise ValueError(f"task {name} of the compiled pipeline depends on {', '.join(missing)}, which is no task")
    paths = sorted(set(_local_paths(job)))
    if paths:
        raise ValueError(f"the compiled pipeline names local paths: {', '.join(paths[:5])}")


def _valid_name(config: RunConfig) -> str:
    name = config.name.lower().replace("_", "-")
    if not _NAME.fullmatch(name):
        expected = "a name of at most 128 letters, digits and hyphens that begins with a letter or digit"
        raise InputError("name", repr(config.name), expected, "set another `name` in the run file")
    return name


def _check_uri(option: str, uri: str, orchestrator: Orchestrator) -> None:
    scheme = "gs://" if orchestrator == "vertex" else ""
    if not _URI.fullmatch(uri) or not uri.startswith(scheme):
        example = f"{scheme or 's3://'}bucket/folder"
        expected = f"a folder that every node of {orchestrator} reaches, such as {example}"
        raise InputError(option, uri, expected, f"give {option} {example}")


def _relocated(value: Any, folders: dict[Path, str]) -> Any:
    """Replaces local folders by remote ones, in plain strings and within the JSON texts of parameters."""
    if isinstance(value, dict):
        return {key: _relocated(item, folders) for key, item in value.items()}
    if isinstance(value, list):
        return [_relocated(item, folders) for item in value]
    if isinstance(value, str):
        for folder, uri in folders.items():
            # At the begin of a string alone: gs://bucket/log is not in the local folder /log.
            pattern = rf'(?<![^"]){re.escape(str(folder))}(?=[/"]|$)'
            value = re.sub(pattern, uri.replace("\\", r"\\"), value)
    return value


def _local_paths(value: Any) -> Iterator[str]:
    """Absolute paths in a spec, also within the JSON texts of parameters."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _local_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _local_paths(item)
    elif isinstance(value, str):
        if value.startswith("/") and len(value) > 1:
            yield value
        elif value[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except ValueError:
                return
            yield from _local_paths(inner)
