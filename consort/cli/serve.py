"""`consort serve`."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli import places
from consort.cli.output import say

if TYPE_CHECKING:
    from serving.server.server import LocalServer

_WAIT_POLL_S = 0.2
_OTHER_NAMES = {
    "--enable-model-warmup": "--warmup",
    "--file-system-poll-wait-seconds": "--poll-seconds",
    "--xla-cpu-compilation-enabled": "--xla",
}


class ServeCommand(places.Command):
    """Takes options as TensorFlow Serving writes them, too: `--model_config_file=F`, `--enable_model_warmup=false`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line."""
        switches = {name for option in self.params if getattr(option, "is_flag", False) for name in option.opts}

        def translated(argument: str) -> list[str]:
            name, equals, value = argument.partition("=")
            name = name.replace("_", "-")
            name = _OTHER_NAMES.get(name, name)
            if name not in switches or value not in ("true", "false"):
                return [name + equals + value]
            no = f"--no-{name.removeprefix('--')}"
            negated = any(no in option.secondary_opts for option in self.params)
            return [name] if value == "true" else [no] if negated else []

        return super().parse_args(
            ctx, [one for argument in args for one in (translated(argument) if argument[:2] == "--" else [argument])]
        )


Folder = Annotated[
    Path | None,
    typer.Argument(metavar="FOLDER", help="Folder of exported versions, or root of a pipeline.", parser=places.follow),
]
ModelConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Models, version policies and labels, instead of FOLDER.")
]
ConfigPoll = Annotated[
    float, typer.Option(metavar="SECONDS", help="Time between checks of that file; 0: read it once.", min=0.0)
]
UnavailableLabels = Annotated[
    bool,
    typer.Option(
        "--allow-version-labels-for-unavailable-models",
        help="Allow labels of versions that are not loaded; needed for labels at startup.",
    ),
]
Port = Annotated[int, typer.Option(metavar="N", help="Port; 0 picks a free one.", min=0, max=65535)]
Host = Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")]
SocketPath = Annotated[Path | None, typer.Option(metavar="FILE", help="Also listen on this Unix socket.")]
MonitoringFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Configuration that enables Prometheus metrics.")
]
MetricsPort = Annotated[
    int | None, typer.Option(metavar="N", help="HTTP port of the metrics; 0 picks a free one.", min=0, max=65535)
]
Health = Annotated[bool, typer.Option("--enable-grpc-healthcheck-service", help="Offer gRPC's health service.")]
Poll = Annotated[float, typer.Option(metavar="SECONDS", help="Time between checks for new versions.", min=0.01)]
Retries = Annotated[
    int, typer.Option(metavar="N", help="Number of further attempts to load a new version that failed.", min=0)
]
RetryInterval = Annotated[int, typer.Option(metavar="N", help="Microseconds between two of these attempts.", min=0)]
Xla = Annotated[
    bool | None,
    typer.Option(help="Compile with XLA, as TF Serving's --xla_cpu_compilation_enabled; default: if a model needs it."),
]
Warmup = Annotated[bool, typer.Option(help="Send warm-up requests, as TF Serving's --enable_model_warmup.")]
Wait = Annotated[
    float, typer.Option(metavar="SECONDS", help="Time to wait for a first version in the folder.", min=0.0)
]
LoadTimeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Time limit for loading the models; default: none.", min=0.0)
]
MaxThreads = Annotated[
    int | None, typer.Option(metavar="N", help="Number of calls at a time; default: four per processor.", min=1)
]
IntraOp = Annotated[int, typer.Option(metavar="N", help="Threads of one operation; 0: TensorFlow chooses.", min=0)]
InterOp = Annotated[int, typer.Option(metavar="N", help="Operations at a time; 0: TensorFlow chooses.", min=0)]
MaxMessage = Annotated[
    int, typer.Option(metavar="N", help="Maximum size of a request after decompression.", min=1, max=2**31 - 1)
]
MaxCall = Annotated[
    float, typer.Option(metavar="SECONDS", help="Time limit of a call, also if its deadline is later.", min=0.001)
]


def serve(
    directory: Folder = None,
    model_config_file: ModelConfigFile = None,
    model_config_file_poll_wait_seconds: ConfigPoll = 0.0,
    allow_version_labels_for_unavailable_models: UnavailableLabels = False,
    port: Port = 8500,
    host: Host = "127.0.0.1",
    grpc_socket_path: SocketPath = None,
    monitoring_config_file: MonitoringFile = None,
    rest_api_port: MetricsPort = None,
    enable_grpc_healthcheck_service: Health = False,
    poll_seconds: Poll = 1.0,
    max_num_load_retries: Retries = 5,
    load_retry_interval_micros: RetryInterval = 60_000_000,
    xla: Xla = None,
    warmup: Warmup = True,
    wait: Wait = 0.0,
    load_timeout: LoadTimeout = None,
    grpc_max_threads: MaxThreads = None,
    tensorflow_intra_op_parallelism: IntraOp = 0,
    tensorflow_inter_op_parallelism: InterOp = 0,
    max_message_bytes: MaxMessage = 64 << 20,
    max_call_seconds: MaxCall = 60.0,
) -> None:
    """Serve SavedModels over TensorFlow Serving's gRPC API.

    A small local server. In production, tensorflow/serving serves the same files. Options of TF Serving may be written
    as there, e.g. --model_config_file=FILE.

    Example: consort serve /tmp/serving --port 8500
    """
    metrics = _metrics_options(monitoring_config_file, rest_api_port)
    models, bases = _models(directory, model_config_file, wait)
    say("loading " + ", ".join(bases))
    from serving.server.server import LocalServer, serve_forever

    server = LocalServer(
        models,
        host=host,
        port=port,
        poll_s=poll_seconds,
        xla=_asks_for_xla(bases) if xla is None else xla,
        warmup=warmup,
        max_message_bytes=max_message_bytes,
        longest_call_s=max_call_seconds,
        max_workers=grpc_max_threads,
        intra_op_threads=tensorflow_intra_op_parallelism,
        inter_op_threads=tensorflow_inter_op_parallelism,
        load_retries=max_num_load_retries,
        load_retry_s=load_retry_interval_micros / 1e6,
        labels_of_unavailable=allow_version_labels_for_unavailable_models,
        config_poll_s=model_config_file_poll_wait_seconds,
        socket_path=grpc_socket_path,
        health_service=enable_grpc_healthcheck_service,
        **metrics,
    )
    serve_forever(server, load_timeout, _announce(", ".join(bases)), lambda reason: say(f"waiting: {reason}"))


def _announce(names: str) -> "Callable[[LocalServer], None]":
    def announce(server: "LocalServer") -> None:
        if server.metrics_url is not None:
            say(f"metrics on {server.metrics_url}")
        print(f"serving {names} on {server.address}", flush=True)

    return announce


def _metrics_options(monitoring: Path | None, port: int | None) -> dict[str, Any]:
    """Returns the arguments of the server for its page of metrics."""
    from serving.server.model_config import read_metrics_path
    from transforms.errors import InputError

    if port is not None and monitoring is None:
        fix = "pass --monitoring-config-file, or leave out --rest-api-port"
        raise InputError("consort serve", "--rest-api-port alone", "metrics to show there; there is no REST API", fix)
    path = read_metrics_path(monitoring) if monitoring is not None else None
    if path is not None and port is None:
        fix = "pass --rest-api-port N"
        raise InputError("consort serve", "--monitoring-config-file alone", "the port of the metrics, too", fix)
    return {} if path is None else {"metrics_port": port, "metrics_path": path}


def _models(directory: Path | None, config: Path | None, wait_s: float) -> tuple[Any, dict[str, Path]]:
    """Returns what the server takes for its models, and their base paths by name."""
    from serving.server.model_config import read_model_config
    from transforms.errors import InputError

    if (directory is None) == (config is None):
        received = "neither FOLDER nor --model-config-file" if config is None else "FOLDER and --model-config-file"
        raise InputError("consort serve", received, "one of them", "pass one")
    if directory is not None:
        bases = _bases(directory, wait_s)
        return bases, bases
    return config, {model.name: model.base for model in read_model_config(config or "")}


def _bases(directory: Path, wait_s: float) -> dict[str, Path]:
    """Returns the base paths by model name, once there is a version."""
    from serving.versions import model_bases
    from transforms.errors import InputError

    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return model_bases(directory)
        except InputError:
            if time.monotonic() >= deadline:
                raise
        if not said:
            say(f"waiting for a version in {directory}")
            said = True
        time.sleep(_WAIT_POLL_S)


def _asks_for_xla(bases: Mapping[str, Path]) -> bool:
    from serving.contract import XLA_FLAG, flags_required
    from serving.versions import newest_with_contract, versions_in

    asking = [
        name
        for name, base in bases.items()
        if versions_in(base) and XLA_FLAG in flags_required(newest_with_contract(base))
    ]
    if asking:
        say(f"XLA is on, because {', '.join(asking)} needs it; start TensorFlow Serving with {XLA_FLAG}")
    return bool(asking)
