"""Where Beam runs: `--runner` and `--option key=value` become Beam's options, and are tried before the work begins."""

import argparse
import contextlib
import json
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import PipelineState, create_runner

from transforms.beam.credentials import check_credentials
from transforms.beam.options import PartOptions, pipeline_options
from transforms.beam.versions import differences, versions
from transforms.errors import ConsortError, InputError
from transforms.import_path import nearest

LOCAL, DATAFLOW, FLINK, SPARK = RUNNERS = ("local", "dataflow", "flink", "spark")
LOCAL_ARGS = ("--runner=FnApiRunner",)
"""Named explicitly: newer Beam would try to download another runner first."""

_SHORT_NAMES: dict[str, dict[str, str]] = {
    LOCAL: {},
    DATAFLOW: {
        "autoscaling": "autoscaling_algorithm",
        "image": "sdk_container_image",
        "max_workers": "max_num_workers",
        "service_account": "service_account_email",
        "worker_type": "machine_type",
        "workers": "num_workers",
    },
    FLINK: {"image": "sdk_container_image", "job_server_jar": "flink_job_server_jar", "master": "flink_master"},
    SPARK: {"image": "sdk_container_image", "job_server_jar": "spark_job_server_jar", "master": "spark_master_url"},
}
_FLINK_JOB_OPTIONS = ("execution_retry_delay", "max_parallelism", "number_of_execution_retries", "object_reuse")
"""Options that only the job server knows."""
_DEFAULTS = {
    LOCAL: LOCAL_ARGS,
    DATAFLOW: ("--runner=DataflowRunner",),
    FLINK: ("--runner=FlinkRunner",),
    SPARK: ("--runner=SparkRunner",),
}
_PORTABLE_RUNNERS = ("flinkrunner", "sparkrunner", "portablerunner")
_CONNECT_S = 5.0
_VERSION_MARKS = ("differs from", "ModuleNotFoundError", "ImportError")
_SLOW_MARKS = ("Timeout", "DEADLINE_EXCEEDED", "NoResourceAvailable")
_SLOW_FIX = (
    "see that the cluster has free slots and that its workers (worker_pool, image) are up and reached from it; a "
    "cluster that is slow needs --option answer_seconds=300, or more"
)


def runner_args(runner: str | None, options: Sequence[str]) -> tuple[str, ...]:
    """Beam's options for a runner.

    Args:
      runner: `local`, `dataflow`, `flink` or `spark`; None: `local`.
      options: `key=value`; a key is the name of one of Beam's options, or one of these short ones: `workers` (local,
        Dataflow: number of workers; Flink: parallelism), `image`, `service_account`, `worker_type`, `autoscaling`,
        `max_workers`, `upload_graph` (Dataflow); `master`, `job_server_jar`, `image`, `worker_pool` (Flink, Spark).

    Raises:
      InputError: no such runner or option, a value of the wrong kind, or one is missing that the runner needs.
    """
    name = runner or LOCAL
    if name not in RUNNERS:
        raise InputError("--runner", repr(name), f"one of {', '.join(RUNNERS)}", nearest(name, RUNNERS))
    values = _values(options)
    args = list(_DEFAULTS[name])
    if name == LOCAL and "workers" in values:
        workers = values.pop("workers")
        if workers != "1":
            args = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    if name == FLINK and "workers" in values:
        values["parallelism"] = values.pop("workers")
    if name in (FLINK, SPARK) and "worker_pool" in values:
        args += ["--environment_type=EXTERNAL", f"--environment_config={values.pop('worker_pool')}"]
    if name == DATAFLOW and values.pop("upload_graph", "false").lower() == "true":
        args.append("--experiments=upload_graph")
    known = _beam_options()
    for key, value in values.items():
        args += _argument(name, key, value, known)
    args = _last_of_each(args)
    checked = pipeline_options(args)
    if name == DATAFLOW:
        _check_dataflow(checked)
    return tuple(args)


def check_runner(beam_args: Sequence[str]) -> None:
    """Tries a runner before anything is written: credentials, the job server, its options, workers and their versions.

    The in-process runner needs no trial. Dataflow reports the versions of its workers itself.

    Args:
      beam_args: Beam's options.

    Raises:
      InputError: the runner cannot do the work; the message says why, within a minute.
    """
    check_credentials(beam_args)
    options = pipeline_options(beam_args)
    runner = str(options.view_as(StandardOptions).runner).rpartition(".")[2].lower()
    if runner not in _PORTABLE_RUNNERS:
        return
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint and endpoint != "embed":
        _check_job_server(endpoint, options)
    elif runner != "portablerunner":
        _check_jar(options, runner)
    _check_pool(options)
    _probe(beam_args)


def _values(options: Sequence[str]) -> dict[str, str]:
    values = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise InputError("--option", repr(option), "key=value", "write it as, for example, --option workers=2")
        values[key.replace("-", "_")] = value
    return values


def _beam_options() -> dict[str, argparse.Action]:
    """Beam's options by name, `--` left out; aliases as well."""
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for group in PipelineOptions.__subclasses__():
        if add := group.__dict__.get("_add_argparse_args"):
            add.__get__(None, group)(parser)
    return {name.lstrip("-"): action for action in parser._actions for name in action.option_strings}


def _argument(runner: str, key: str, value: str, known: Mapping[str, argparse.Action]) -> list[str]:
    short = _SHORT_NAMES[runner]
    name = short.get(key, key)
    if name not in known:
        if runner == FLINK and name in _FLINK_JOB_OPTIONS:
            return [f"--{name}={value}"]
        names = [*short, "worker_pool", *known] if runner in (FLINK, SPARK) else [*short, "workers", *known]
        names += _FLINK_JOB_OPTIONS if runner == FLINK else ("upload_graph",) if runner == DATAFLOW else ()
        advice = nearest(key, names)
        fix = advice if advice.startswith("did") else "leave it out"
        raise InputError("--option", repr(key), f"an option that the runner {runner!r} knows", fix)
    if known[name].nargs != 0:
        return [f"--{name}={value}"]
    if value.lower() not in ("true", "false"):
        raise InputError(f"--option {key}", repr(value), "true or false", "correct the value")
    return [f"--{name}"] if value.lower() == "true" else []


def _last_of_each(args: Sequence[str]) -> list[str]:
    """Options with those left out that a later one overrides; those that Beam adds up stay."""
    repeatable = ("--experiments", "--extra_package", "--environment_option")
    last = {arg.partition("=")[0]: number for number, arg in enumerate(args)}
    return [
        arg for number, arg in enumerate(args) if last[arg.partition("=")[0]] == number or arg.startswith(repeatable)
    ]


def _check_dataflow(options: PipelineOptions) -> None:
    values = options.get_all_options()
    examples = {"project": "my-project", "region": "europe-west1", "temp_location": "gs://bucket/tmp"}
    for key, example in examples.items():
        if not values.get(key):
            fix = f"pass --option {key}={example}"
            raise InputError("--runner dataflow", f"no {key}", f"--option {key}=...", fix)
    if not any(values.get(key) for key in ("sdk_container_image", "setup_file")):
        fix = "pass --option image=REGISTRY/IMAGE; the stock image of Beam has no TensorFlow, TFT or Consort"
        raise InputError("--runner dataflow", "no image of the workers", "--option image=...", fix)
    for key in ("temp_location", "staging_location"):
        if values.get(key) and not str(values[key]).startswith("gs://"):
            raise InputError(f"--option {key}", values[key], "a folder of a bucket, gs://...", "name a bucket")
    if faults := PipelineOptionsValidator(options, create_runner("DataflowRunner")).validate():
        raise InputError("--runner dataflow", "; ".join(faults), "options that Dataflow takes", "correct the option")


def _check_job_server(endpoint: str, options: PipelineOptions) -> None:
    """Asks a job server that runs already for the options that it knows."""
    fix = "start it (deploy/runners has scripts for a cluster on one machine), or correct the address"
    channel = grpc.insecure_channel(endpoint)
    try:
        grpc.channel_ready_future(channel).result(timeout=_CONNECT_S)
        asked = beam_job_api_pb2.DescribePipelineOptionsRequest()
        described = beam_job_api_pb2_grpc.JobServiceStub(channel).DescribePipelineOptions(asked, timeout=_CONNECT_S)
    except grpc.FutureTimeoutError:
        received = f"no answer within {_CONNECT_S:.0f} s"
        raise InputError(f"job server {endpoint}", received, "a Beam job server", fix) from None
    except grpc.RpcError as error:
        received = f"{error.code().name}: {error.details()}"
        raise InputError(f"job server {endpoint}", received, "a Beam job server", fix) from error
    finally:
        channel.close()
    known = [*options.get_all_options(), *(option.name for option in described.options)]
    unknown = sorted(set(options.get_all_options(retain_unknown_options=True)) - set(known))
    if unknown:
        advice = nearest(unknown[0], known)
        fix = advice if advice.startswith("did") else "leave it out"
        raise InputError("Beam options", f"--{unknown[0]}", f"an option that the job server {endpoint} knows", fix)


def _check_pool(options: PipelineOptions) -> None:
    """Looks whether somebody listens where the cluster will ask for workers."""
    portable = options.view_as(PortableOptions)
    host, separator, port = str(portable.environment_config).rpartition(":")
    if portable.environment_type != "EXTERNAL" or not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        fix = "start it (python -m apache_beam.runners.worker.worker_pool_main), or correct the address"
        where = f"worker pool {portable.environment_config}"
        raise InputError(where, str(error), "a pool of Beam workers", fix) from error


def _check_jar(options: PipelineOptions, runner: str) -> None:
    """Checks what starts a job server: by default Beam would download it, and wait long where it may not."""
    name = runner.removesuffix("runner")
    view: Any = options.view_as(FlinkRunnerOptions if name == FLINK else SparkRunnerOptions)
    jar = getattr(view, f"{name}_job_server_jar")
    fix = "pass --option job_endpoint=HOST:PORT of a job server, or --option job_server_jar=FILE (docs/runners.md)"
    if not jar:
        raise InputError(f"--runner {name}", "no job server", "the address of one, or its jar", fix)
    if "://" not in jar and not Path(jar).is_file():
        raise InputError("--option job_server_jar", jar, "a file", fix)
    java = options.view_as(JobServerOptions).job_server_java_launcher
    if shutil.which(java) is None:
        raise InputError(f"--runner {name}", f"no {java!r} on PATH", "Java 11 or 17", "install a Java runtime")


def _probe(beam_args: Sequence[str]) -> None:
    """Lets a worker compare its versions with those here; refuses where none does so in time."""
    where, started = "Beam's workers", time.monotonic()
    options = pipeline_options(beam_args)
    patience = float(options.view_as(PartOptions).answer_seconds)
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Versions" >> beam.Create([json.dumps(versions())]) | "Compare" >> beam.Map(differences)
    try:
        result = pipeline.run()
        left = max(1.0, patience - (time.monotonic() - started))
        state = result.wait_until_finish(duration=int(left * 1000))
    except ConsortError:
        raise
    except Exception as error:
        raise InputError(where, *_failure(str(error))) from error
    if state != PipelineState.DONE:
        with contextlib.suppress(grpc.RpcError):  # A job server that hangs is refused for the same reason.
            result.cancel()
        received = f"no answer to the trial job within {time.monotonic() - started:.0f} s; its state is {state}"
        raise InputError(where, received, "a worker that answers in time", _SLOW_FIX)


def _failure(text: str) -> tuple[str, str, str]:
    """What was received, what was expected and the fix, from the message of a trial job that failed."""
    reason = _reason(text)
    if any(mark in reason for mark in _VERSION_MARKS):
        return reason, "the versions that are installed here", "install the launcher's versions on the workers"
    if any(mark in reason for mark in _SLOW_MARKS):
        return reason, "a worker that answers in time", _SLOW_FIX
    return reason, "a job of one element that ends well", "see the logs of the job server and of the workers"


def _reason(text: str) -> str:
    """The line of a worker's trace that says what is wrong."""
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
    for mark in (*_VERSION_MARKS, *_SLOW_MARKS, "Error", "Exception"):
        if matches := [line for line in lines if mark in line]:
            return matches[0][:400]
    return (lines or ["no reason"])[-1][:400]
