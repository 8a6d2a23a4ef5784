"""A full server, calls that their clients have given up, and an end in a stated time."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.server import STOP_S, LocalServer, _signals
from serving.server.warmup import REQUESTS
from tests.helpers.command_line import until
from tests.serving import toy_models

ROOT = Path(__file__).parents[2]
ENDLESS = 10**12
SCRIPT = """
import sys
from serving.server.server import LocalServer, serve_forever
server = LocalServer({"m": sys.argv[1]}, poll_s=0.05, xla=False, max_workers=2)
server.start()
print(server.address, flush=True)
serve_forever(server)
print("stopped", flush=True)
"""


@pytest.fixture(scope="module")
def odds(tmp_path_factory):
    base = tmp_path_factory.mktemp("odds")
    toy_models.odds_and_ends(base / "1")
    return base


def _spin(stub, timeout=None, steps=ENDLESS, signature="spin"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(steps, tf.int64))
    return stub.Predict.future(request, timeout)


def _users(server):
    return server._models["m"]._versions[1].users


def test_a_full_server_refuses_at_once_and_still_tells_its_state(odds):
    with (
        LocalServer({"m": odds}, max_workers=2) as server,
        grpc.insecure_channel(server.address) as channel,
        PredictClient(server.address) as client,
    ):
        server.wait_ready(20.0)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        # Given up by their client, which TensorFlow does not learn.
        for call in [_spin(stub), _spin(stub)]:
            until(lambda: _users(server) > 0)
            call.add_done_callback(lambda _: None)
        until(lambda: _users(server) == 2)
        channel.close()
        with grpc.insecure_channel(server.address) as other:
            start = time.monotonic()
            with pytest.raises(grpc.RpcError) as caught:
                _spin(prediction_service_pb2_grpc.PredictionServiceStub(other), 10.0).result()
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert caught.value.details() == "Server Threadpool Exhausted"
            assert time.monotonic() - start < 2.0
        assert [status.state for status in client.status("m")] == ["AVAILABLE"]
        assert "spin" in client.metadata("m")
        start = time.monotonic()
        assert server.stop(grace_s=0.2)
        assert time.monotonic() - start < 0.2 + STOP_S


def test_a_run_ends_after_the_longest_time_also_without_a_client(odds):
    with (
        LocalServer({"m": odds}, max_workers=1, longest_call_s=0.5) as server,
        grpc.insecure_channel(server.address) as channel,
        PredictClient(server.address, timeout_s=10.0) as client,
    ):
        server.wait_ready(20.0)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        given_up = _spin(stub)
        until(lambda: _users(server) == 1)
        given_up.cancel()
        # The client asks again until the one place is free.
        assert client.predict("m", {"ids": [1]}, signature="gather").outputs["y"].tolist() == [20.0]
        with pytest.raises(grpc.RpcError) as caught:
            _spin(stub, 20.0).result()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "stopped after 0.5 s, the longest that a call may take here"


def test_many_clients_of_a_full_server_all_get_their_answer(odds):
    answers = []
    with LocalServer({"m": odds}, max_workers=1) as server, PredictClient(server.address, timeout_s=30.0) as client:
        server.wait_ready(20.0)

        def ask():
            answers.append(client.predict("m", {"steps": 20_000}, signature="spin").outputs["y"].item())

        askers = [threading.Thread(target=ask) for _ in range(12)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    assert answers == [20_000] * 12


def test_a_call_under_way_ends_with_its_answer_within_the_grace(odds):
    with LocalServer({"m": odds}) as server, grpc.insecure_channel(server.address) as channel:
        server.wait_ready(20.0)
        call = _spin(prediction_service_pb2_grpc.PredictionServiceStub(channel), 30.0, steps=10**5)
        until(lambda: _users(server) > 0 or call.done())
        assert server.stop(grace_s=20.0)
        assert call.result().outputs["y"].int64_val[0] == 10**5


@pytest.fixture
def start():
    """Starts a server of a base path in a process of its own, which goes with the test."""
    started = []

    def start(base):
        command = [sys.executable, "-c", SCRIPT, str(base)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize(("signature", "steps", "said"), [("spin", ENDLESS, "stopped"), ("grind", 5000, "")])
def test_sigterm_ends_a_process_whose_calls_never_end(odds, start, signature, steps, said):
    process = start(odds)
    address = process.stdout.readline().strip()
    with PredictClient(address) as client:
        client.wait_available("m", 30.0)
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        calls = [_spin(stub, None, steps, signature) for _ in range(2)]
        time.sleep(0.5)
        for call in calls:
            call.cancel()
        process.send_signal(signal.SIGTERM)
        assert process.wait(1.0 + STOP_S + 3.0) == 0
    # Where an operation cannot be interrupted, the process is ended with it.
    assert process.stdout.read().strip() == said


def test_sigterm_ends_a_process_that_is_still_loading(start, tmp_path):
    base = tmp_path / "slow"
    toy_models.odds_and_ends(base / "1")
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "spin"
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(ENDLESS, tf.int64))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    (base / "1" / REQUESTS).parent.mkdir()
    with tf.io.TFRecordWriter(str(base / "1" / REQUESTS)) as writer:
        writer.write(log.SerializeToString())
    process = start(base)
    with PredictClient(process.stdout.readline().strip()) as client:
        until(lambda: _state(client) == "LOADING")
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    # Nothing stops a warm-up, so the process is ended with it.
    assert process.wait(1.0 + STOP_S + 3.0) == 0


def _state(client):
    try:
        return client.status("m")[0].state
    except ServingError:
        return None


def test_a_signal_that_another_thread_receives_stops_the_server_too() -> None:
    def send() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with _signals() as stopping:
        thread = threading.Thread(target=send)
        start = time.monotonic()
        thread.start()
        assert stopping.wait(20.0) and time.monotonic() - start < 10.0
        thread.join()
