"""Warm-up before a version becomes AVAILABLE; the names begin with the numbers of the conformance list."""

import shutil
import time

import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.servable import Servable
from serving.server.server import LocalServer
from serving.server.warmup import REQUESTS, XLA_REQUESTS, warm_up
from tests.serving import toy_models


@pytest.fixture(scope="module")
def counter(models_root):
    return models_root / "counter" / "00000123"


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


@pytest.fixture
def count(serve, request):
    """What the counter shows once the model is served."""

    def count(model, **options):
        with serve(model.parent, **options) as (server, client):
            # Its signatures have no inputs.
            if request.config.getoption("--target"):
                request.getfixturevalue("unbatched")
            server.wait_ready(20.0)
            return float(client.predict(client.model, {}, signature="get").outputs["output"])

    return count


def test_w01_without_a_file_or_with_an_empty_one_the_model_loads(count, model):
    assert count(model) == 0.0
    _write(model, [])
    assert count(model) == 0.0


def test_w02_each_record_runs_once_before_the_version_is_available(count, model):
    _write(model, [_increase_by(1.0), _increase_by(10.0), _increase_by(100.0)])
    assert count(model) == 111.0


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
        prediction_log_pb2.PredictionLog(predict_streamed_log=prediction_log_pb2.PredictStreamedLog()),
    ],
    ids=["session_run", "predict_streamed"],
)
def test_w07_session_runs_and_streams_are_unimplemented(model, log):
    _write(model, [log])
    _load_fails(model, "UNIMPLEMENTED", "Unsupported log_type")


def test_requests_that_need_xla_run_where_it_is_on(model):
    _write(model, [_increase_by(1.0)] * 2)
    (model / XLA_REQUESTS).write_bytes((model / REQUESTS).read_bytes())
    servable = Servable(model)
    assert warm_up(servable, model) == 2
    assert warm_up(servable, model, xla=True) == 4
    servable.close()


def _served(model):
    """How many records ran when the model was loaded."""
    servable = Servable(model)
    count = warm_up(servable, model)
    servable.close()
    return count


@pytest.mark.parametrize("content", [b"abc", b"x" * 11])
def test_less_than_a_header_is_the_end_of_the_file(model, content):
    _write(model, [])
    (model / REQUESTS).write_bytes(content)
    assert _served(model) == 0
    _write(model, [_increase_by(1.0)])
    with (model / REQUESTS).open("ab") as file:
        file.write(content)
    assert _served(model) == 1


def test_a_record_cut_short_is_data_loss(model):
    _write(model, [_increase_by(1.0)])
    content = (model / REQUESTS).read_bytes()
    for size in (12, len(content) - 5, len(content) - 1):
        (model / REQUESTS).write_bytes(content[:size])
        _load_fails(model, "DATA_LOSS", "truncated record at 0")


def test_a_flipped_byte_in_a_record_is_data_loss_by_its_checksum(model):
    _write(model, [_increase_by(1.0), _increase_by(2.0)])
    content = bytearray((model / REQUESTS).read_bytes())
    content[-6] ^= 1
    (model / REQUESTS).write_bytes(content)
    _load_fails(model, "DATA_LOSS", "corrupted record at ")


def test_a_folder_in_the_files_place_is_a_failed_precondition(model):
    (model / REQUESTS).mkdir(parents=True)
    _load_fails(model, "FAILED_PRECONDITION", "Is a directory")


def test_a_record_without_a_log_type_is_skipped(count, model):
    _write(model, [b"", _increase_by(1.0), prediction_log_pb2.PredictionLog()])
    assert count(model) == 1.0


@pytest.fixture
def scorer(tmp_path):
    return toy_models.example_scorer(tmp_path / "scorer" / "1")


def _input(*values, context=None):
    """Examples with the feature x, or with nothing where a context has it."""

    def example(value):
        features = {} if value is None else {"x": tf.train.Feature(float_list=tf.train.FloatList(value=[value]))}
        return tf.train.Example(features=tf.train.Features(feature=features))

    examples = [example(value) for value in values]
    if context is None:
        return input_pb2.Input(example_list=input_pb2.ExampleList(examples=examples))
    both = input_pb2.ExampleListWithContext(examples=examples, context=example(context))
    return input_pb2.Input(example_list_with_context=both)


def _classify(given, signature="classify"):
    request = classification_pb2.ClassificationRequest(input=given)
    request.model_spec.signature_name = signature
    return prediction_log_pb2.PredictionLog(classify_log=prediction_log_pb2.ClassifyLog(request=request))


def _regress(given, signature="regress"):
    request = regression_pb2.RegressionRequest(input=given)
    request.model_spec.signature_name = signature
    return prediction_log_pb2.PredictionLog(regress_log=prediction_log_pb2.RegressLog(request=request))


def _several(given, tasks, name="m"):
    request = inference_pb2.MultiInferenceRequest(input=given)
    for signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return prediction_log_pb2.PredictionLog(multi_inference_log=prediction_log_pb2.MultiInferenceLog(request=request))


BOTH = [("classify", "classify"), ("regress", "regress")]


def test_w02_records_of_examples_are_run_each_once(scorer):
    logs = [
        _classify(_input(1.0, 2.0)),
        _regress(_input(4.0)),
        _classify(_input(None, None, context=8.0)),
        _several(_input(16.0), BOTH),
    ]
    _write(scorer, logs)
    with LocalServer({"m": scorer.parent}) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        # Each signature that is run adds the sum of x.
        total = client.predict("m", {}, signature="total").outputs["total"]
    assert float(total) == (1 + 2) + 4 + (8 + 8) + 2 * 16


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        (_classify(_input()), "INVALID_ARGUMENT", "Input is empty"),
        (_classify(input_pb2.Input()), "INVALID_ARGUMENT", "Input is empty"),
        (_classify(_input(1.0), "nothing"), "INVALID_ARGUMENT", "No signature was found with the name: nothing"),
        (_classify(_input(1.0), "total"), "INVALID_ARGUMENT", "Expected one input Tensor"),
        (_classify(_input(1.0), "regress"), "INVALID_ARGUMENT", "at least one of"),
        (_regress(_input(1.0), "classify"), "INVALID_ARGUMENT", "Expected one output Tensor"),
        (_regress(_input(1.0), "wide"), "INVALID_ARGUMENT", "but got .1, 2."),
        (_regress(_input(None)), "INVALID_ARGUMENT", "Feature: x .* is required"),
        (_several(_input(1.0), BOTH, name=""), "INVALID_ARGUMENT", "empty model name"),
        (_several(_input(1.0), BOTH[:1] * 2), "INVALID_ARGUMENT", "Duplicate evaluation of signature: classify"),
        (_several(_input(1.0), [("classify", "predict")]), "UNIMPLEMENTED", "tensorflow/serving/predict"),
    ],
)
def test_w08_a_record_of_examples_that_the_model_refuses_fails_the_load(scorer, log, code, said):
    _write(scorer, [log])
    _load_fails(scorer, code, said)


def test_w10_warm_up_can_be_left_out(count, model):
    _write(model, [_increase_by(1.0)])
    assert count(model, warmup=False) == 0.0
