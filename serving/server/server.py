"""A local server for demos, tests and laptops: TensorFlow Serving's gRPC over real SavedModels.

It uses TensorFlow's own loader and session through its C API, without importing TensorFlow's Python part, and answers
with TensorFlow Serving's status codes and messages. What it does not offer: batching, REST, the profiler, TLS,
Classify, Regress and MultiInference, streaming. For production run `tensorflow/serving` on the same directories.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving.protocol import ServingError
from serving.server.limits import MOST_MESSAGE_BYTES
from serving.server.metrics import Metrics, MetricsPage
from serving.server.model_config import METRICS_PATH, ModelConfig, read_model_config
from serving.server.model_versions import ModelVersions, Policy, choose
from serving.server.models import Models
from serving.server.saved_model_files import missing_part
from serving.server.servable import Servable
from serving.server.service import LONGEST_CALL_S, Service
from serving.server.session import disable_xla, session_config, xla_is_disabled
from serving.server.warmup import warm_up
from transforms.errors import InputError
from transforms.graph_operations import check_saved_model

_LOG = logging.getLogger(__name__)
_READY_POLL_S = 0.02
_SIGNAL_POLL_S = 0.1
_QUIET_S = 3.0
"""A model usually loads in less: nothing is said before."""
_SPARE_THREADS = 8
"""For what is answered at once, also when all others run a model: states, metadata, refusals."""
_HEALTH_SERVICES = ("", "PredictionService", "ModelService")
STOP_S = 5.0
"""What stopping takes at most after the calls' grace: for interrupted calls to end and memory to be freed."""


class LocalServer:
    """Serves models from their base paths; a context manager.

    Args:
      models: base path, the directory of numbered versions, by model name; or a list of `ModelConfig`; or the path of
        a `--model_config_file` of TensorFlow Serving.
      host: address to bind; the default is reachable from this machine only.
      port: 0 takes a free one, see `port` afterwards.
      poll_s: seconds between two looks for new versions.
      warmup: run the warm-up requests that travel with a model before it becomes AVAILABLE.
      labels: version number by label by model name; where `models` is a mapping.
      max_workers: models' runs at a time; None means four per processor. Further ones are RESOURCE_EXHAUSTED at once.
      versions: `latest`, the N latest, `all`, or a list of numbers; where `models` is a mapping.
      tensor_content: answer in `tensor_content`; TensorFlow Serving's default is repeated fields.
      xla: False switches XLA off for the whole process and for good, as TensorFlow Serving does unless it is flagged;
        None leaves the process as it is.
      inter_op_threads: operations at a time; 0 lets TensorFlow choose. -1 runs a request on its own thread, without
        TensorFlow's pool, but then its deadline is only checked before the run and does not stop it.
      intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
      load_retries: further attempts to load a version that failed.
      load_retry_s: seconds between two attempts.
      max_message_bytes: of a request, also after it is decompressed; larger ones are RESOURCE_EXHAUSTED.
      longest_call_s: a run is stopped after it, also where the client has no deadline or has given up.
      labels_of_unavailable: labels may stand for versions that are not AVAILABLE, as with TensorFlow Serving's
        `--allow_version_labels_for_unavailable_models`; else `wait_ready` refuses them.
      config_poll_s: seconds between two looks at the file that `models` names; 0 reads it once.
      socket_path: also listens on this Unix socket.
      health_service: offer gRPC's health service: SERVING for "", "PredictionService" and "ModelService" from when the
        server is ready until it stops.
      metrics_port: of the HTTP page of metrics; 0 takes a free one, see `metrics_port` afterwards; None: no metrics.
      metrics_path: of that page.

    Raises:
      InputError: a base path that is itself a SavedModel, or a file that is no configuration.
      ValueError: no model, a label of an unknown model, no such policy, or XLA wanted after it was switched off.
    """

    def __init__(
        self,
        models: Mapping[str, str | os.PathLike[str]] | Sequence[ModelConfig] | Path,
        host: str = "127.0.0.1",
        port: int = 0,
        poll_s: float = 1.0,
        warmup: bool = True,
        labels: Mapping[str, Mapping[str, int]] | None = None,
        max_workers: int | None = None,
        versions: Policy = "latest",
        tensor_content: bool = False,
        xla: bool | None = None,
        inter_op_threads: int = 0,
        intra_op_threads: int = 0,
        load_retries: int = 0,
        load_retry_s: float = 60.0,
        max_message_bytes: int = MOST_MESSAGE_BYTES,
        longest_call_s: float = LONGEST_CALL_S,
        labels_of_unavailable: bool = False,
        config_poll_s: float = 0.0,
        socket_path: str | os.PathLike[str] | None = None,
        health_service: bool = False,
        metrics_port: int | None = None,
        metrics_path: str = METRICS_PATH,
    ):
        configs = _configs(models, labels or {}, versions)
        _check(configs, xla)
        if xla is False:
            disable_xla()
        self.host, self.port, self.metrics_port, self._started = host, port, metrics_port, False
        self._socket_path, self._metrics_path = socket_path, metrics_path
        self._config_file = models if isinstance(models, Path) else None
        self._config_poll_s, self._stopping = config_poll_s, threading.Event()
        self._warmup, self._config = warmup, session_config(inter_op_threads, intra_op_threads)
        self._metrics = None if metrics_port is None else Metrics()
        self._page: MetricsPage | None = None

        def make(config: ModelConfig) -> ModelVersions:
            return ModelVersions(
                *(config.name, config.base, self._load, config.policy, poll_s, load_retries, load_retry_s),
                missing=missing_part,
            )

        self._models = Models(configs, make, labels_of_unavailable)
        runs = max_workers or 4 * (os.cpu_count() or 1)
        self._workers = ThreadPoolExecutor(runs + _SPARE_THREADS, thread_name_prefix="predict")
        self._grpc = grpc.server(
            self._workers,
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # gRPC would decompress all of a message before it looks at its size.
                ("grpc.per_message_decompression", 0),
                # Two servers on one port would answer by turns.
                ("grpc.so_reuseport", 0),
            ],
        )
        service = Service(self._models, tensor_content, runs, max_message_bytes, longest_call_s, self._metrics)
        self._grpc.add_generic_rpc_handlers(service.handlers())
        self._health = _add_health_service(self._grpc) if health_service else None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def metrics_url(self) -> str | None:
        """The page of metrics; None without one."""
        return None if self.metrics_port is None else f"http://{self.host}:{self.metrics_port}{self._metrics_path}"

    def __enter__(self) -> "LocalServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Binds the port, starts to answer and to load; `wait_ready` waits for the models.

        Raises:
          InputError: the port is taken or the host is not this machine's.
          ServingError: FAILED_PRECONDITION: the configuration file has labels, and they need AVAILABLE versions.
        """
        if self._started:
            return
        if self._config_file is not None:
            # As TensorFlow Serving, which assigns labels before it loads anything.
            self._models.check_labels()
        self.port = self._listen(self.address)
        if self._socket_path is not None:
            self._listen(f"unix:{os.fspath(self._socket_path)}")
        if self._metrics is not None:
            self._page = MetricsPage(self._metrics, self.host, self.metrics_port or 0, self._metrics_path)
            self.metrics_port = self._page.port
        self._started = True
        self._models.start()
        self._grpc.start()
        if self._config_file is not None and self._config_poll_s:
            threading.Thread(target=self._follow_config, args=(self._config_file,), daemon=True).start()

    def _listen(self, address: str) -> int:
        try:
            return int(self._grpc.add_insecure_port(address))
        except RuntimeError as error:
            fix = "stop what listens there, choose another port, or 0 for a free one"
            raise InputError("server address", address, "an address that is free", fix) from error

    def _follow_config(self, path: Path) -> None:
        """Reads the configuration file again and again, and serves its models when it has changed."""
        known: list[ModelConfig] | None = None
        while not self._stopping.wait(self._config_poll_s):
            try:
                configs = read_model_config(path)
                if configs != known:
                    _check(configs, None)
                    self._models.reload(configs)
                    known = configs
            except (InputError, ServingError) as error:
                _LOG.error("cannot follow %s: %s", path, error)

    def wait_ready(self, timeout_s: float | None = 60.0, on_wait: Callable[[str], None] | None = None) -> None:
        """Waits until all wanted versions of all models are AVAILABLE.

        Args:
          timeout_s: None waits for as long as it takes.
          on_wait: called with what is waited for, whenever that changes.

        Raises:
          ServingError: a version failed to load, with the reason; time is over; or FAILED_PRECONDITION: a label stands
            for a version that is not AVAILABLE.
        """
        self._wait_ready(timeout_s, _StopRequest(), on_wait)

    def _wait_ready(
        self,
        timeout_s: float | None,
        stopping: "_StopRequest",
        on_wait: Callable[[str], None] | None,
        retrying: bool = True,
    ) -> None:
        start, said = time.monotonic(), ""
        while blockers := self._models.blockers(retrying):
            waiting = "; ".join(blockers)
            if timeout_s is not None and time.monotonic() - start >= timeout_s:
                raise ServingError("DEADLINE_EXCEEDED", f"not ready after {timeout_s:g} s; {waiting}")
            if on_wait is not None and waiting != said and time.monotonic() - start >= _QUIET_S:
                said = waiting
                on_wait(waiting)
            if stopping.wait(_READY_POLL_S):
                return
        self._models.check_labels()
        if self._health is not None:
            for service in _HEALTH_SERVICES:
                self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float = 1.0) -> bool:
        """Refuses new calls, lets those under way finish for `grace_s` seconds, then ends them and unloads the models.

        Returns:
          Whether everything has ended, `STOP_S` seconds after that at the latest. What cannot be interrupted, a load or
          one long operation, goes on in its thread otherwise.
        """
        self._stopping.set()
        self._models.begin_to_stop()
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        if self._page is not None:
            self._page.close()
            self._page = None
        deadline = time.monotonic() + grace_s + STOP_S
        # Without runs to wait for this takes no time; those that go on are interrupted below.
        self._grpc.stop(grace_s).wait(grace_s)
        ended = self._models.stop(deadline - time.monotonic())
        self._workers.shutdown(wait=False)
        return ended

    def _load(self, directory: Path) -> Servable:
        try:
            check_saved_model(directory)
        except InputError as error:
            raise ServingError("FAILED_PRECONDITION", str(error)) from error
        path, metrics = os.fspath(directory), self._metrics
        with metrics.load(path) if metrics else contextlib.nullcontext():
            servable = Servable(directory, self._config)
        try:
            if self._warmup:
                with metrics.warmup(path) if metrics else contextlib.nullcontext():
                    warm_up(servable, directory, xla=not xla_is_disabled())
        except ServingError:
            servable.close()
            raise
        return servable


def _configs(
    models: Mapping[str, str | os.PathLike[str]] | Sequence[ModelConfig] | Path,
    labels: Mapping[str, Mapping[str, int]],
    versions: Policy,
) -> Sequence[ModelConfig]:
    if isinstance(models, Path):
        return read_model_config(models)
    if not isinstance(models, Mapping):
        return models
    if not models or not all(models):
        raise ValueError(f"models: received {dict(models)!r}; expected at least one name and its base path")
    if unknown := set(labels) - set(models):
        raise ValueError(f"labels: received labels of {sorted(unknown)}; expected models among {sorted(models)}")
    choose({}, versions)
    return [ModelConfig(name, Path(base), versions, labels.get(name, {})) for name, base in models.items()]


def _check(configs: Sequence[ModelConfig], xla: bool | None) -> None:
    if xla and xla_is_disabled():
        raise ValueError("xla: received True after XLA was switched off in this process; start a process of its own")
    for config in configs:
        if (config.base / "saved_model.pb").is_file():
            fix = f"put the SavedModel into {config.base / '1'}, or name the directory above"
            where, received = f"model {config.name}", f"the SavedModel {config.base}"
            raise InputError(where, received, "a directory of numbered versions", fix)


def _add_health_service(server: grpc.Server) -> Any:
    servicer = health.HealthServicer()
    for service in _HEALTH_SERVICES:
        servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


def serve_forever(
    server: LocalServer,
    ready_timeout_s: float | None = None,
    announce: Callable[[LocalServer], None] | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> None:
    """Starts a server, serves until SIGTERM or SIGINT, then stops it; for the main thread of a process of its own.

    Where something does not end in time (see `LocalServer.stop`), it ends the process.

    Args:
      server: give it `xla=False`, to answer as TensorFlow Serving does.
      ready_timeout_s: all models have to be AVAILABLE by then; None waits for as long as loading takes.
      announce: called once they are.
      on_wait: called with what is waited for, whenever that changes.

    Raises:
      ServingError: a model failed to load or was not ready in time.
      InputError: the port is taken.
    """
    with _signals() as stopping:
        try:
            server.start()
            server._wait_ready(ready_timeout_s, stopping, on_wait, retrying=False)
            if announce is not None and not stopping.is_set():
                announce(server)
            while not stopping.wait(_SIGNAL_POLL_S):
                pass
        finally:
            ended = server.stop()
    if not ended:
        _LOG.error("the process ends while a model is being loaded or run")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _StopRequest:
    """What SIGTERM and SIGINT ask for.

    No `threading.Event`: a signal that another thread receives does not wake the main thread from a lock, so that the
    handler would never run, and a handler that sets an event waits for ever where it interrupts the event's own code.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Asks for the stop."""
        self._is_set = True

    def is_set(self) -> bool:
        """True once a stop was asked for."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Waits so long, or until a stop is asked for; returns whether it was."""
        end = time.monotonic() + seconds
        while not self._is_set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SIGNAL_POLL_S))
        return self._is_set


@contextlib.contextmanager
def _signals() -> Iterator[_StopRequest]:
    """What SIGTERM and SIGINT set."""
    stopping = _StopRequest()
    earlier = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
