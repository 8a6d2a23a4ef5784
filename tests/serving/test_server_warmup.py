"""Warm-up before a version becomes AVAILABLE; the names begin with the numbers of the conformance list."""

import shutil
import time

import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, prediction_log_pb2

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.predict import Servable
from serving.server.server import LocalServer
from serving.server.warmup import REQUESTS, warm_up
from tests.serving import toy_models


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    return toy_models.counter(tmp_path_factory.mktemp("counter") / "model")


@pytest.fixture
def model(counter, tmp_path):
    """The counting model as version 1 of a base path."""
    return shutil.copytree(counter, tmp_path / "base" / "1")


def _increase_by(amount, dtype=tf.float32, name="ignored"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, "increase_by"
    request.inputs["delta"].CopyFrom(tf.make_tensor_proto(amount, dtype))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def _write(model, records):
    path = model / REQUESTS
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())


def _count(model, warmup=True):
    """What the counter shows once the model is served."""
    with LocalServer({"m": model.parent}, warmup=warmup) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        return float(client.predict("m", {}, signature="get").outputs["output"])


def test_w01_without_a_file_or_with_an_empty_one_the_model_loads(model):
    assert _count(model) == 0.0
    _write(model, [])
    assert _count(model) == 0.0


def test_w02_each_record_runs_once_before_the_version_is_available(model):
    _write(model, [_increase_by(1.0), _increase_by(10.0), _increase_by(100.0)])
    assert _count(model) == 111.0


def test_w08_a_record_that_the_model_refuses_fails_the_load_and_the_old_version_stays(counter, model):
    with LocalServer({"m": model.parent}, poll_s=0.05) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        candidate = shutil.copytree(counter, model.parent / "2.tmp")
        _write(candidate, [_increase_by(1.0), _increase_by(True, tf.bool)])
        candidate.rename(model.parent / "2")
        deadline = time.monotonic() + 20.0
        while (states := client.status("m"))[0].state != "END":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        broken, old = states
        assert (broken.version, broken.state, broken.error_code) == (2, "END", "INVALID_ARGUMENT")
        assert "warm-up record 1 of " in broken.error_message
        assert "to be float but bool is provided" in broken.error_message
        assert (old.version, old.state) == (1, "AVAILABLE")
        assert client.predict("m", {}, signature="get").version == 1


def _load_fails(model, code, said):
    servable = Servable(model)
    with pytest.raises(ServingError, match=said) as caught:
        warm_up(servable, model)
    servable.close()
    assert caught.value.code == code


def test_w04_a_file_that_is_no_tfrecord_is_data_loss(model):
    _write(model, [])
    (model / REQUESTS).write_bytes(b"this is not a record file, not at all")
    _load_fails(model, "DATA_LOSS", "TFRecord format")


def test_w05_a_record_that_is_no_prediction_log_is_invalid(model):
    _write(model, [b"\xff\xff\xff"])
    _load_fails(model, "INVALID_ARGUMENT", "Failed to parse warmup record")


def test_w06_more_than_a_thousand_records_are_invalid(model):
    _write(model, [_increase_by(1.0)] * 1000)
    servable = Servable(model)
    assert warm_up(servable, model) == 1000
    servable.close()
    _write(model, [_increase_by(1.0)] * 1001)
    _load_fails(model, "INVALID_ARGUMENT", "exceeds the maximum")


@pytest.mark.parametrize(
    "log",
    [
        prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog()),
        prediction_log_pb2.PredictionLog(
            classify_log=prediction_log_pb2.ClassifyLog(request=classification_pb2.ClassificationRequest())
        ),
        prediction_log_pb2.PredictionLog(
            multi_inference_log=prediction_log_pb2.MultiInferenceLog(request=inference_pb2.MultiInferenceRequest())
        ),
    ],
    ids=["session_run", "classify", "multi_inference"],
)
def test_w07_other_records_than_predict_are_unimplemented(model, log):
    _write(model, [log])
    _load_fails(model, "UNIMPLEMENTED", "Unsupported log_type")


def test_w10_warm_up_can_be_left_out(model):
    _write(model, [_increase_by(1.0)])
    assert _count(model, warmup=False) == 0.0
