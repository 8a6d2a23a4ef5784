"""Health and metrics; the names begin with the numbers of the conformance list."""

import re
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.metrics import Metrics
from serving.server.server import LocalServer

METRICS = "/monitoring/prometheus/metrics"


@pytest.fixture
def page(server):
    if server.http is None:
        pytest.skip("needs the server's HTTP port: --target-http HOST:PORT")

    def read(path=METRICS):
        with urllib.request.urlopen(f"http://{server.http}{path}", timeout=10.0) as answer:
            return answer.read().decode()

    return read


def _samples(text):
    """Values by name and labels."""
    lines = (re.fullmatch(r"(\S+?)(?:\{(.*)\})? (\S+)", line) for line in text.splitlines() if line[:1] != "#")
    parsed = [line.groups() for line in lines if line]
    return {(name, *sorted((labels or "").split(","))): float(value) for name, labels, value in parsed}


def _counted(text):
    """What the metrics say about the model `three`: answers, errors, answers with a latency, and runs."""
    samples = _samples(text)
    model = 'model_name="three"'

    def value(name, *labels):
        return samples.get((f":tensorflow:serving:{name}", *sorted((model, *labels))), 0.0)

    return (
        value("request_count", 'status="OK"'),
        value("request_count", 'status="INVALID_ARGUMENT"'),
        value("request_latency_count", 'API="Predict"', 'entrypoint="GRPC"'),
        value("runtime_latency_count", 'API="Predict"', 'runtime="TF1"'),
    )


def test_h11_requests_are_counted_and_timed_under_tensorflow_serving_s_names(server, page):
    with PredictClient(server.address, check_inputs=False) as client:
        client.predict("three", {"x": [2.0]})
        before = _counted(page())
        for _ in range(3):
            client.predict("three", {"x": [2.0]})
        with pytest.raises(ServingError):
            client.predict("three", {"z": [2.0]})
    text = page()
    assert [after - earlier for after, earlier in zip(_counted(text), before)] == [3.0, 1.0, 3.0, 3.0]
    for name, kind in (
        ("request_count", "counter"),
        ("request_latency", "histogram"),
        ("runtime_latency", "histogram"),
    ):
        assert f"# TYPE :tensorflow:serving:{name} {kind}\n" in text
    buckets = [line for line in text.splitlines() if line.startswith(":tensorflow:serving:request_latency_bucket")]
    assert any('le="+Inf"' in line for line in buckets) and any('le="18' in line for line in buckets)


def test_h11_names_that_no_model_has_take_one_line_and_rest_is_not_offered(server, page):
    if server.local is None:
        pytest.skip("TensorFlow Serving counts every name, and offers REST")
    with PredictClient(server.address, check_inputs=False) as client:
        for number in range(5):
            with pytest.raises(ServingError):
                client.predict(f"nobody {number}", {"x": [2.0]})
    text = page()
    assert "nobody" not in text
    assert _samples(text)[(":tensorflow:serving:request_count", 'model_name=""', 'status="NOT_FOUND"')] >= 5
    assert not re.search(r"(?m)^\S+_(created|total)\b", text)
    with pytest.raises(urllib.error.HTTPError) as caught:
        page("/v1/models/default")
    assert caught.value.code == 404
    assert "no REST API" in caught.value.read().decode()
    caught.value.close()


def test_loads_are_shown_by_path_and_old_paths_are_forgotten():
    metrics = Metrics()
    for number in range(100):
        with metrics.load(f"/m/{number}"), metrics.warmup(f"/m/{number}"):
            pass
    with pytest.raises(KeyError), metrics.load("/m/bad"):
        raise KeyError("no model")
    samples = _samples(metrics.page().decode())
    attempts = {labels[0]: labels for name, *labels in samples if name.endswith("load_attempt_count")}
    assert len(attempts) == 64
    assert attempts['model_path="/m/bad"'] == ['model_path="/m/bad"', 'status="fail"']
    assert attempts['model_path="/m/99"'] == ['model_path="/m/99"', 'status="success"']
    assert 'model_path="/m/0"' not in attempts
    assert len([1 for name, *_ in samples if name.endswith("warmup_latency_count")]) == 63


def _health(channel, service):
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=10.0)


@pytest.mark.parametrize("service", ["", "PredictionService", "ModelService"])
def test_h12_the_services_are_serving(server, service):
    try:
        assert _health(server.channel, service).status == health_pb2.HealthCheckResponse.SERVING
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        pytest.skip("the server was started without --enable_grpc_healthcheck_service")


def test_h12_an_unknown_service_is_not_found(server):
    with pytest.raises(grpc.RpcError) as caught:
        _health(server.channel, "no such service")
    assert caught.value.code().name in ("NOT_FOUND", "UNIMPLEMENTED")


def test_h12_nothing_is_serving_before_the_models_are_there(tmp_path):
    with LocalServer({"m": tmp_path}, health_service=True) as local, grpc.insecure_channel(local.address) as channel:
        assert _health(channel, "").status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_h13_without_the_flag_there_is_no_health_service(tmp_path):
    with (
        LocalServer({"m": tmp_path}) as local,
        grpc.insecure_channel(local.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        _health(channel, "")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
