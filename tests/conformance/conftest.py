"""The server under test: a local one, or the one that `--target HOST:PORT` names."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from filelock import FileLock
from google.protobuf import text_format
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import PredictClient
from serving.server.server import LocalServer
from tests.conformance import served_models
from tests.serving import toy_models

POLL_S = 0.05
LOAD_S = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what starts a server of its own where another's is tested."""
    if item.config.getoption("--target") and not {"server", "serve"} & set(getattr(item, "fixturenames", ())):
        pytest.skip("needs a server that is started with other flags or on other folders")


@dataclass
class Server:
    """A server that has the models of `served_models`.

    Args:
      address: of its gRPC port.
      http: of its HTTP port; None if it is not known.
      root: the folder of its models; None if it is not known.
      channel: to its gRPC port.
      local: the server itself, if it is the local one.
    """

    address: str
    http: str | None
    root: Path | None
    channel: grpc.Channel
    local: LocalServer | None

    def reload(self, *more: str, without: tuple[str, ...] = (), timeout_s: float = LOAD_S) -> None:
        """Configures the models of the suite, without some of them, and further ones."""
        if self.root is None:
            pytest.skip("needs the folder of the server's models: --target-models FOLDER")
        kept = [text for name, text in served_models.entries(self.root).items() if name not in without]
        self.reload_config(f"model_config_list {{ {' '.join([*kept, *more])} }}", timeout_s)

    def reload_config(self, text: str, timeout_s: float = LOAD_S) -> None:
        """Sends a configuration in protobuf's text format."""
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        response = model_service_pb2_grpc.ModelServiceStub(self.channel).HandleReloadConfigRequest(request, timeout_s)
        assert response.status.error_code == 0


@pytest.fixture(scope="session")
def models_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models; the processes of a test run write it once."""
    if chosen := request.config.getoption("--target-models"):
        return Path(chosen).resolve()
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "conformance.lock"):
        if not (shared / "conformance" / served_models.MODELS_CONFIG).is_file():
            shutil.rmtree(shared / "conformance", ignore_errors=True)
            served_models.write(shared / "conformance")
    return shared / "conformance"


@pytest.fixture(scope="session")
def two(models_root: Path) -> Path:
    """The model x / 2 + 2."""
    return models_root / "default" / "00000123"


@pytest.fixture(scope="session")
def three(models_root: Path) -> Path:
    """The model x / 2 + 3."""
    return models_root / "three" / "00000123"


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server under test."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    target = request.config.getoption("--target")
    if target:
        chosen = request.config.getoption("--target-models")
        http = request.config.getoption("--target-http")
        with grpc.insecure_channel(target, options) as channel:
            yield Server(target, http, Path(chosen).resolve() if chosen else None, channel, None)
        return
    root = request.getfixturevalue("models_root")
    with LocalServer(
        root / served_models.MODELS_CONFIG,
        poll_s=POLL_S,
        labels_of_unavailable=True,
        health_service=True,
        metrics_port=0,
    ) as local:
        local.wait_ready(LOAD_S)
        with grpc.insecure_channel(local.address, options) as channel:
            yield Server(local.address, f"{local.host}:{local.metrics_port}", root, channel, local)


@pytest.fixture(scope="session")
def stub(server: Server) -> Any:
    """The official stub of PredictionService."""
    return prediction_service_pb2_grpc.PredictionServiceStub(server.channel)


@pytest.fixture(scope="session")
def batched(stub: Any) -> bool:
    """True where the server joins requests to batches, so that scalars cannot be sent."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.SetInParent()
    request.inputs["x"].float_val.append(2.0)
    try:
        stub.Predict(request, 10.0)
    except grpc.RpcError as error:
        if "Batching" in (error.details() or ""):
            return True
        raise
    return False


@pytest.fixture(scope="session")
def xla(stub: Any) -> bool:
    """True where the server has XLA on."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "sets"
    for name in ("user", "items"):
        request.inputs[name].dtype = 1
        for size in (1, toy_models.WIDTH):
            request.inputs[name].tensor_shape.dim.add(size=size)
    try:
        stub.Predict(request, 60.0)
    except grpc.RpcError as error:
        return "XLA compilation disabled" not in (error.details() or "")
    return True


@pytest.fixture
def unbatched(batched: bool) -> None:
    """For a test whose inputs have no common dimension 0."""
    if batched:
        pytest.skip("the server joins requests to batches: each input needs the same dimension 0")


class Asker(PredictClient):
    """A client, and the name of the model to ask."""

    model = "m"

    def __enter__(self) -> "Asker":
        return self


Serve = Callable[..., contextlib.AbstractContextManager[tuple[Any, Asker]]]
_numbers = itertools.count()


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serves a base path as one more model; with options only by a local server."""

    @contextlib.contextmanager
    def serve(base: Path, **options: Any) -> Iterator[tuple[Any, Asker]]:
        if not request.config.getoption("--target"):
            with LocalServer({"m": base}, poll_s=POLL_S, **options) as local, Asker(local.address) as client:
                yield local, client
            return
        if options:
            pytest.skip("needs a server that is started with other flags")
        target: Server = request.getfixturevalue("server")
        # Another name each time: a server goes on listing what it has unloaded.
        with Asker(target.address) as client:
            client.model = f"m{next(_numbers)}_{os.getpid()}"
            target.reload(served_models.entry(client.model, base))
            try:
                yield _Waiter(client), client
            finally:
                target.reload()

    return serve


@dataclass
class _Waiter:
    """Waits as a local server does."""

    client: Asker

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until a version of the model answers."""
        self.client.wait_available(self.client.model, timeout_s)
