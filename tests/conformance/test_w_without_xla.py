"""The server as a process of its own: XLA switched off, signals, and a model that cannot be served."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.warmup import REQUESTS
from tests.serving import toy_models

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from serving.server.server import LocalServer, serve_forever
from transforms.errors import ConsortError
try:
    server = LocalServer({"m": sys.argv[1]}, poll_s=0.05, xla=False)
    serve_forever(server, announce=lambda server: print(server.address, flush=True))
except ConsortError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
print("stopped", "tensorflow" in sys.modules)
"""
USER = np.ones([1, toy_models.WIDTH], np.float32)
ITEMS = np.ones([3, toy_models.WIDTH], np.float32)


def _start(base):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(base)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("xla")
    toy_models.set_scorer(base / "1")
    return base


@pytest.fixture(scope="module")
def process(base):
    process = _start(base)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def client(process):
    with PredictClient(process.stdout.readline().strip()) as client:
        yield client


def _check_p28(client, model):
    with pytest.raises(ServingError) as caught:
        client.predict(model, {"user": USER, "items": ITEMS})
    assert caught.value.code == "INTERNAL"
    assert "XLA compilation disabled" in caught.value.details
    # user · item is 4, the sum of the first features 3.
    assert (
        client.predict(model, {"user": USER, "items": ITEMS}, signature="plain").outputs["scores"].tolist() == [7.0] * 3
    )


def test_p28_an_xla_signature_is_internal_where_xla_is_off_and_plain_answers(client):
    _check_p28(client, "m")


def test_p28_the_same_of_the_server_under_test(server, request):
    if server.local is not None:
        # XLA is on in this process; the test above has one in which it is off.
        return
    if request.getfixturevalue("batched") or request.getfixturevalue("xla"):
        pytest.skip("needs a server with XLA off that joins no requests to batches")
    with PredictClient(server.address) as client:
        _check_p28(client, "sets")


def test_w09_with_warm_up_the_xla_model_fails_to_load_and_the_old_version_stays(client, base):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["user"].CopyFrom(tf.make_tensor_proto(USER))
    request.inputs["items"].CopyFrom(tf.make_tensor_proto(ITEMS))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    candidate = shutil.copytree(base / "1", base / "2.tmp")
    (candidate / REQUESTS).parent.mkdir()
    with tf.io.TFRecordWriter(str(candidate / REQUESTS)) as writer:
        writer.write(log.SerializeToString())
    candidate.rename(base / "2")
    deadline = time.monotonic() + 20.0
    while (newest := client.status("m")[0]).version != 2 or newest.state != "END":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert newest.error_code == "INTERNAL"
    assert "XLA compilation disabled" in newest.error_message
    assert client.predict("m", {"user": USER, "items": ITEMS}, signature="plain").version == 1


def test_sigterm_stops_the_server_cleanly(client, process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(20.0) == 0
    # It never imported TensorFlow's Python part, which takes seconds and hundreds of megabytes.
    assert process.stdout.read().strip() == "stopped False"
    with pytest.raises(ServingError, match="UNAVAILABLE"):
        client.predict("m", {"user": USER, "items": ITEMS}, timeout_s=0.3)


def test_a_model_that_cannot_be_loaded_ends_the_process_with_the_reason(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"not a model")
    process = _start(tmp_path)
    said, _ = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert "m version 1 failed to load: " in said
