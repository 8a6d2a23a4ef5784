"""A local server for demos, tests and laptops: TensorFlow Serving's gRPC over real SavedModels.

It uses TensorFlow's own loader and session through its C API, without importing TensorFlow's Python part, and answers
with TensorFlow Serving's status codes and messages. What it does not offer: batching, REST, metrics, the health and
profiler services, TLS, Classify, Regress and MultiInference, a model config file and its reloading, streaming. For
production run `tensorflow/serving` on the same directories.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from serving.protocol import ServingError
from serving.server.c_api import disable_xla, xla_is_disabled
from serving.server.model_versions import ModelVersions, Policy, choose
from serving.server.predict import Servable
from serving.server.service import Models, Service
from serving.server.session import session_config
from serving.server.warmup import warm_up
from transforms.errors import InputError

_READY_POLL_S = 0.02
_LONGEST_MESSAGE = -1
"""No limit, as TensorFlow Serving."""


class LocalServer:
    """Serves models from their base paths; a context manager.

    Args:
      models: base path, the directory of numbered versions, by model name.
      host: address to bind; the default is reachable from this machine only.
      port: 0 takes a free one, see `port` afterwards.
      poll_s: seconds between two looks for new versions.
      warmup: run the warm-up requests that travel with a model before it becomes AVAILABLE.
      labels: version number by label by model name.
      max_workers: calls at a time; None means four per processor.
      versions: `latest`, the N latest, `all`, or a list of numbers.
      tensor_content: answer in `tensor_content`; TensorFlow Serving's default is repeated fields.
      xla: False switches XLA off for the whole process and for good, as TensorFlow Serving does unless it is flagged;
        None leaves the process as it is.
      inter_op_threads: operations at a time; 0 lets TensorFlow choose. -1 runs a request on its own thread, without
        TensorFlow's pool, but then its deadline is only checked before the run and does not stop it.
      intra_op_threads: threads within one operation; 0 lets TensorFlow choose.
      load_retries: further attempts to load a version that failed.
      load_retry_s: seconds between two attempts.

    Raises:
      InputError: a base path that is itself a SavedModel.
      ValueError: no model, a label of an unknown model, no such policy, or XLA wanted after it was switched off.
    """

    def __init__(
        self,
        models: Mapping[str, str | os.PathLike[str]],
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
    ):
        _check(models, labels or {}, versions, xla)
        if xla is False:
            disable_xla()
        self.host, self.port, self._started = host, port, False
        self._warmup, self._config = warmup, session_config(inter_op_threads, intra_op_threads)
        self._models = {
            name: ModelVersions(name, Path(base), self._load, versions, poll_s, load_retries, load_retry_s)
            for name, base in models.items()
        }
        served = Models(self._models, labels or {})
        self._workers = ThreadPoolExecutor(max_workers or 4 * (os.cpu_count() or 1), thread_name_prefix="predict")
        self._grpc = grpc.server(
            self._workers,
            options=[
                ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
                ("grpc.max_send_message_length", _LONGEST_MESSAGE),
                # Two servers on one port would answer by turns.
                ("grpc.so_reuseport", 0),
            ],
        )
        self._grpc.add_generic_rpc_handlers(Service(served, tensor_content).handlers())

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> "LocalServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Binds the port, starts to answer and to load; `wait_ready` waits for the models.

        Raises:
          InputError: the port is taken or the host is not this machine's.
        """
        if self._started:
            return
        try:
            self.port = self._grpc.add_insecure_port(self.address)
        except RuntimeError as error:
            fix = "stop what listens there, choose another port, or 0 for a free one"
            raise InputError("server address", self.address, "an address that is free", fix) from error
        self._started = True
        for model in self._models.values():
            model.start()
        self._grpc.start()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Waits until all wanted versions of all models are AVAILABLE.

        Raises:
          ServingError: a version failed to load, with the reason, or time is over.
        """
        self._wait_ready(timeout_s, threading.Event())

    def _wait_ready(self, timeout_s: float, stopping: threading.Event) -> None:
        deadline = time.monotonic() + timeout_s
        while blockers := [reason for model in self._models.values() if (reason := model.blocker())]:
            if time.monotonic() >= deadline:
                raise ServingError("DEADLINE_EXCEEDED", f"not ready after {timeout_s:g} s; {'; '.join(blockers)}")
            if stopping.wait(_READY_POLL_S):
                return

    def stop(self, grace_s: float = 1.0) -> None:
        """Refuses new calls, lets those under way finish for `grace_s` seconds, and unloads the models."""
        self._grpc.stop(grace_s).wait()
        for model in self._models.values():
            model.stop()
        self._workers.shutdown(wait=False)

    def _load(self, directory: Path) -> Servable:
        servable = Servable(directory, self._config)
        try:
            if self._warmup:
                warm_up(servable, directory)
        except ServingError:
            servable.close()
            raise
        return servable


def _check(models: Mapping[str, Any], labels: Mapping[str, Any], versions: Policy, xla: bool | None) -> None:
    if not models or not all(models):
        raise ValueError(f"models: received {dict(models)!r}; expected at least one name and its base path")
    if unknown := set(labels) - set(models):
        raise ValueError(f"labels: received labels of {sorted(unknown)}; expected models among {sorted(models)}")
    choose({}, versions)
    if xla and xla_is_disabled():
        raise ValueError("xla: received True after XLA was switched off in this process; start a process of its own")
    for name, base in models.items():
        if (Path(base) / "saved_model.pb").is_file():
            fix = f"put the SavedModel into {Path(base) / '1'}, or name the directory above"
            raise InputError(f"model {name}", f"the SavedModel {base}", "a directory of numbered versions", fix)


def serve_forever(
    server: LocalServer, ready_timeout_s: float = 120.0, announce: Callable[[LocalServer], None] | None = None
) -> None:
    """Starts a server, serves until SIGTERM or SIGINT, then stops it cleanly; for the main thread.

    Args:
      server: give it `xla=False` in a process of its own, to answer as TensorFlow Serving does.
      ready_timeout_s: all models have to be AVAILABLE by then.
      announce: called once they are.

    Raises:
      ServingError: a model failed to load or was not ready in time.
      InputError: the port is taken.
    """
    with _signals() as stopping, server:
        server._wait_ready(ready_timeout_s, stopping)
        if announce is not None and not stopping.is_set():
            announce(server)
        stopping.wait()


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set."""
    stopping = threading.Event()
    earlier = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
