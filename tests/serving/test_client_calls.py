"""The client's deadlines, retries and errors, against a server that misbehaves on order."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import protocol
from serving.client import PredictClient, ServingError
from transforms.errors import ConsortError

STATES = get_model_status_pb2.ModelVersionStatus


class Misbehaving(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Answers calls by the script: a refusal (code, details), a pause in seconds, or None for a proper answer."""

    def __init__(self):
        self.script, self.requests, self.states, self.size = [], [], [], 1

    def Predict(self, request, context):
        self.requests.append(request)
        order = self.script.pop(0) if self.script else None
        if isinstance(order, float):
            time.sleep(order)
        elif order is not None:
            context.abort(*order)
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.version.value = "m", 7
        response.outputs["y"].dtype = 1
        response.outputs["y"].float_val.extend([1.0] * self.size)
        response.outputs["y"].tensor_shape.dim.add(size=self.size)
        return response

    def GetModelStatus(self, request, context):
        states = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if not states:
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model m")
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state, code, message in states:
            status = response.model_version_status.add(version=version, state=state)
            status.status.error_code, status.status.error_message = code, message
        return response


@pytest.fixture
def servicer():
    return Misbehaving()


@pytest.fixture
def client(servicer):
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with PredictClient(f"127.0.0.1:{port}", timeout_s=5.0) as client:
        yield client
    server.stop(None).wait()


def test_importing_the_client_leaves_tensorflow_out():
    script = "import sys, serving.client; print([m for m in ('tensorflow', 'tensorflow_serving') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert ran.stdout.strip() == "[]"


def test_the_request_carries_what_was_asked(client, servicer):
    found = client.predict("m", {}, signature="s", label="stable", outputs=["a", "b"])
    (request,) = servicer.requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "s")
    assert request.model_spec.version_label == "stable"
    assert list(request.output_filter) == ["a", "b"]
    assert (found.version, found.outputs["y"].tolist()) == (7, [1.0])


UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "later")
NO_THREAD = (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
FULL = [
    (grpc.StatusCode.RESOURCE_EXHAUSTED, details)
    for details in (
        "Server Threadpool Exhausted",
        "Concurrent RPC limit exceeded!",
        "Run() timeout exceeded while waiting in batching queue",
    )
]


@pytest.mark.parametrize("refusals", [[UNAVAILABLE, UNAVAILABLE], [NO_THREAD, NO_THREAD, UNAVAILABLE], FULL])
def test_what_cannot_have_run_is_tried_again(client, servicer, refusals):
    servicer.script = list(refusals)
    assert client.predict("m", {}).version == 7
    assert len(servicer.requests) == len(refusals) + 1


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "message too large"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (209715200 vs. 8388608)"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OOM when allocating tensor with shape[100000,100000]"),
        (grpc.StatusCode.INTERNAL, "XLA compilation disabled"),
        (grpc.StatusCode.INVALID_ARGUMENT, "no"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "no"),
        (grpc.StatusCode.ABORTED, "no"),
    ],
)
def test_other_refusals_are_not_tried_again(client, servicer, code, details):
    servicer.script = [(code, details)]
    with pytest.raises(ServingError) as caught:
        client.predict("m", {})
    assert (caught.value.code, caught.value.details) == (code.name, details)
    assert isinstance(caught.value, ConsortError)
    assert len(servicer.requests) == 1


def test_retries_end_at_the_deadline(client, servicer):
    servicer.script = [UNAVAILABLE] * 1000
    start = time.monotonic()
    with pytest.raises(ServingError, match="UNAVAILABLE: later"):
        client.predict("m", {}, timeout_s=0.5)
    assert time.monotonic() - start < 0.7
    # The pauses grow, so there are several attempts, and not hundreds.
    assert 3 <= len(servicer.requests) <= 10


def test_a_call_has_a_deadline(client, servicer):
    servicer.script = [1.0]
    start = time.monotonic()
    with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
        client.predict("m", {}, timeout_s=0.2)
    assert time.monotonic() - start < 0.8


def test_a_server_that_is_not_there_is_unavailable():
    with PredictClient("127.0.0.1:9", timeout_s=0.5) as client, pytest.raises(ServingError, match="UNAVAILABLE"):
        client.predict("m", {})


def test_answers_above_grpc_s_four_mebibytes_are_received(client, servicer):
    servicer.size = 2_000_000
    assert client.predict("m", {}).outputs["y"].shape == (2_000_000,)


def test_a_version_and_a_label_are_one_too_many(client):
    with pytest.raises(ValueError, match="expected one of them"):
        client.predict("m", {}, version=1, label="stable")


def test_an_input_that_no_tensor_holds_is_named(client, servicer):
    with pytest.raises(ValueError, match="input 'x': .*ragged"):
        client.predict("m", {"x": [[1.0], [1.0, 2.0]]})
    assert servicer.requests == []


def test_a_client_without_a_deadline_is_refused():
    with pytest.raises(ValueError, match="expected more than 0 seconds"):
        PredictClient("127.0.0.1:9", timeout_s=0.0)


def test_waiting_ends_when_a_version_is_available(client, servicer):
    loading = [(3, STATES.LOADING, 0, ""), (2, STATES.END, 13, "broken")]
    servicer.states = [[], loading, [(3, STATES.AVAILABLE, 0, ""), (2, STATES.END, 13, "broken")]]
    assert client.wait_available("m", 5.0) == 3


def test_waiting_ends_early_when_loading_failed(client, servicer):
    servicer.states = [[(2, STATES.END, 3, "no such op"), (1, STATES.END, 0, "")]]
    with pytest.raises(ServingError) as caught:
        client.wait_available("m", 30.0)
    assert (caught.value.code, caught.value.details) == ("INVALID_ARGUMENT", "m version 2 failed to load: no such op")


def test_waiting_ends_in_time_and_says_what_it_saw(client, servicer):
    servicer.states = [[(2, STATES.LOADING, 0, "")]]
    with pytest.raises(ServingError, match="not available after 0.3 s; last: version 2 LOADING"):
        client.wait_available("m", 0.3)


def test_the_error_of_a_version_that_is_no_utf8_is_read_all_the_same(client):
    response = protocol.GetModelStatusResponse()
    status = response.model_version_status.add(version=3, state=50).status
    status.error_code, status.error_message = 3, b"warm-up record \xff"
    message = response.SerializeToString()
    client._status = lambda request, timeout: protocol.GetModelStatusResponse.FromString(message)
    assert [(one.error_code, one.error_message) for one in client.status("m")] == [
        ("INVALID_ARGUMENT", "warm-up record \ufffd")
    ]
    with pytest.raises(ServingError, match="m version 3 failed to load: warm-up record \ufffd"):
        client.wait_available("m", 5.0)
