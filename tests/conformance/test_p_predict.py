"""Predict as TensorFlow Serving answers it; the names begin with the numbers of the conformance list."""

import concurrent.futures
import time
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server.server import LocalServer
from tests.serving import toy_models


def _request(model, signature="", outputs=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        given = isinstance(value, tensor_pb2.TensorProto)
        request.inputs[name].CopyFrom(value if given else tf.make_tensor_proto(value, tf.float32))
    return request


def _ask(stub, *args, timeout=10.0, **kwargs):
    response = stub.Predict(_request(*args, **kwargs), timeout)
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def _refused(stub, request, timeout=10.0):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout)
    return caught.value.code().name, caught.value.details()


def test_p01_one_value_in_float_val_and_the_spec_is_echoed(stub):
    response = stub.Predict(_request("default", "serving_default", ["y"], x=[2.0]), 10.0)
    answer = response.outputs["y"]
    assert list(answer.float_val) == [3.0]
    assert (answer.dtype, [dim.size for dim in answer.tensor_shape.dim], answer.tensor_content) == (1, [1], b"")
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("default", "serving_default", 123)


def test_p02_without_a_filter_all_outputs_come(stub):
    assert set(_ask(stub, "signatures", "custom", x=[1.0])) == {"y", "x_again"}
    assert set(_ask(stub, "signatures", "custom", ["x_again"], x=[1.0])) == {"x_again"}


def test_p03_no_signature_name_means_serving_default(stub):
    assert stub.Predict(_request("default", x=[2.0]), 10.0).model_spec.signature_name == "serving_default"


def test_p04_a_scalar_stays_a_scalar(stub, unbatched):
    answer = _ask(stub, "default", x=2.0)["y"]
    assert (answer.shape, float(answer)) == ((), 3.0)


@pytest.mark.parametrize(("signature", "answer"), [("regress_x2_to_y3", "outputs"), ("classify_x2_to_y3", "scores")])
def test_p05_predict_answers_on_any_signature(stub, signature, answer):
    assert _ask(stub, "default", signature, inputs=[2.0])[answer].tolist() == [4.0]


def test_p06_signatures_without_inputs_keep_state(stub, unbatched):
    def ask(signature, **inputs):
        return float(_ask(stub, "counter", signature, **inputs)["output"])

    sequence = [ask(signature) for signature in ("reset", "get", "increase", "reset", "increase")]
    assert [*sequence, ask("increase_by", delta=3.0)] == [0.0, 0.0, 1.0, 0.0, 1.0, 4.0]


@pytest.mark.parametrize(("signature", "expected"), [("", 1.0), ("custom", 2.0)])
def test_p07_two_signatures(stub, signature, expected):
    assert _ask(stub, "signatures", signature, x=[1.0])["y"].tolist() == [expected]


def test_p08_variables_are_restored(stub):
    assert _ask(stub, "variables", x=[2.0])["output_0"].tolist() == [12.0]


def test_p09_a_keras_model_answers(stub):
    assert _ask(stub, "keras", x=[[2.0]])["y"].tolist() == [[2.0]]


def test_p10_without_a_model_spec_is_invalid(stub):
    assert _refused(stub, predict_pb2.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_p11_an_empty_model_name_is_invalid(stub):
    assert _refused(stub, _request("", "s"))[0] == "INVALID_ARGUMENT"


def test_p12_unknown_model_is_not_found(stub):
    assert _refused(stub, _request("nobody", x=[1.0])) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(nobody)",
    )


@pytest.mark.parametrize("label", [None, "gone"])
def test_p13_a_version_that_is_not_loaded_is_not_found(stub, label):
    request = _request("pair", x=[1.0])
    if label:
        request.model_spec.version_label = label
    else:
        request.model_spec.version.value = 7
    assert _refused(stub, request) == ("NOT_FOUND", "Servable not found for request: Specific(pair, 7)")


def test_p14_an_unknown_label_is_invalid(stub):
    request = _request("pair", x=[1.0])
    request.model_spec.version_label = "C"
    assert _refused(stub, request) == ("INVALID_ARGUMENT", "Unrecognized servable version label: C")


def test_p15_the_highest_version_answers(stub):
    response = stub.Predict(_request("pair", x=[2.0]), 10.0)
    assert (list(response.outputs["y"].float_val), response.model_spec.version.value) == ([4.0], 124)


@pytest.mark.parametrize(("choice", "value"), [({"version": 123}, 3.0), ({"label": "A"}, 3.0), ({"label": "B"}, 4.0)])
def test_p16_the_asked_version_answers(stub, choice, value):
    request = _request("pair", x=[2.0])
    if "version" in choice:
        request.model_spec.version.value = choice["version"]
    else:
        request.model_spec.version_label = choice["label"]
    response = stub.Predict(request, 10.0)
    assert list(response.outputs["y"].float_val) == [value]
    assert response.model_spec.version.value == {3.0: 123, 4.0: 124}[value]


def test_p17_unknown_signature_is_a_failed_precondition(stub):
    assert _refused(stub, _request("default", "nothing", x=[1.0])) == (
        "FAILED_PRECONDITION",
        'Serving signature key "nothing" not found.',
    )


INVALID = {
    "p18 no inputs": (_request("default"), "input size does not match signature: 0!=1"),
    "p19 one wrong alias": (_request("default", z=[1.0]), "Signature input alias: x"),
    "p20 two unknown aliases": (
        _request("default", a=[1.0], b=[1.0]),
        "len({a,b}) != len({x}). Sent extra: {a,b}. Missing but required: {x}.",
    ),
    "p21 a string": (_request("default", x=tf.make_tensor_proto(["2"])), "to be float but string is provided"),
    "p21 a bool": (_request("default", x=tf.make_tensor_proto([True])), "to be float but bool is provided"),
    "p22 unknown output": (
        _request("default", outputs=["z"], x=[1.0]),
        "output tensor alias not found in signature: z",
    ),
    "p23 output twice": (_request("default", outputs=["y", "y"], x=[1.0]), "duplicate output tensor alias: y"),
    "p24 unknown beside a default": (_request("defaults", scale=2.0, z=[1.0]), "Signature input alias: x"),
    "p24 too few and an unknown one": (_request("defaults", z=[1.0]), "Signature input alias: x"),
    "p24 only the default": (_request("defaults", scale=2.0), "default input alias set: scale"),
    "p27 inner dimension": (_request("odds", "weigh", x=[[1.0, 2.0]]), "Matrix size-incompatible"),
    "p27 id out of range": (_request("odds", "gather", ids=tf.make_tensor_proto([3], tf.int64)), "is not in [0, 3)"),
    "p30 above the last bucket": (_request("sets", user=[[0.0] * 4], items=[[0.0] * 4] * 1025), "at most"),
}


@pytest.mark.parametrize("case", INVALID)
def test_p18_to_p30_invalid_arguments(stub, batched, case):
    if batched and case.startswith("p30"):
        pytest.skip("the server joins requests to batches: user and candidates have unlike dimensions 0")
    request, said = INVALID[case]
    code, details = _refused(stub, request)
    assert code == "INVALID_ARGUMENT"
    assert said in details


@pytest.mark.parametrize(("sent", "expected"), [({}, [6.0]), ({"scale": 5.0}, [10.0])])
def test_p24_a_default_stands_in_for_an_input_left_out(stub, unbatched, sent, expected):
    assert _ask(stub, "defaults", x=[2.0], **sent)["y"].tolist() == expected


@pytest.mark.parametrize("broken", [b"\x00" * 7, b"\x00" * 9])
def test_p25_content_that_does_not_fit_the_shape_is_invalid(stub, broken):
    proto = tf.make_tensor_proto([1.0, 2.0])
    proto.ClearField("float_val")
    proto.tensor_content = broken
    assert _refused(stub, _request("default", x=proto)) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_p26_three_encodings_of_one_tensor_give_one_answer(stub):
    shape = tf.make_tensor_proto(np.zeros([2, 2], np.float32)).tensor_shape
    encodings: list[dict[str, Any]] = [
        {"tensor_content": np.full([4], 6.0, np.float32).tobytes()},
        {"float_val": [6.0] * 4},
        {"float_val": [6.0]},
    ]
    for encoding in encodings:
        proto = tensor_pb2.TensorProto(dtype=1, tensor_shape=shape, **encoding)
        np.testing.assert_array_equal(_ask(stub, "default", x=proto)["y"], np.full([2, 2], 5.0))


@pytest.mark.parametrize("dtype", toy_models.ECHOED)
def test_p26_every_data_type_comes_back_as_it_went(stub, dtype):
    values = np.array([[b"a", b"x" * 40], [b"", b"zero\x00"]], object) if dtype == "string" else None
    values = np.array([[1, 0], [3, 100]]).astype(dtype) if values is None else values
    answer = _ask(stub, "echo", dtype, x=tf.make_tensor_proto(values))["y"]
    assert answer.dtype == values.dtype
    np.testing.assert_array_equal(answer, values)


@pytest.mark.parametrize("number", [0, 1, 128, 129, 1024])
def test_p29_xla_answers_as_plain_for_every_number_of_candidates(stub, unbatched, xla, number):
    if not xla:
        pytest.skip("the server has XLA off")
    generator = np.random.default_rng(number)
    user = generator.normal(size=[1, toy_models.WIDTH]).astype(np.float32)
    items = generator.normal(size=[number, toy_models.WIDTH]).astype(np.float32)
    tensors = {"user": tf.make_tensor_proto(user), "items": tf.make_tensor_proto(items)}
    expected = items @ user[0] + items[:, 0].sum()
    compiled = _ask(stub, "sets", timeout=60.0, **tensors)["scores"]
    assert compiled.shape == (number,)
    np.testing.assert_allclose(compiled, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(_ask(stub, "sets", "plain", **tensors)["scores"], expected, rtol=1e-4, atol=1e-4)


def test_p32_a_long_message_is_cut(stub, unbatched):
    code, details = _refused(stub, _request("odds", "complain", x=1.0))
    assert code == "INVALID_ARGUMENT"
    assert details.endswith("...TRUNCATED")
    assert len(details) == 1024 + len("...TRUNCATED")


def test_p33_a_run_is_stopped_at_its_deadline(stub, server, unbatched):
    start = time.monotonic()
    request = _request("odds", "spin", steps=tf.make_tensor_proto(5 * 10**7, tf.int64))
    assert _refused(stub, request, timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - start < 5.0
    if server.local is None:
        return
    # The model can only be free again because the run was stopped on the server too.
    model = server.local._models["odds"]
    while model._versions[123].users and time.monotonic() - start < 10.0:
        time.sleep(0.01)
    assert model._versions[123].users == 0


def test_p34_twenty_megabytes_pass(stub):
    x = np.arange(5_000_000, dtype=np.float32)[None]
    answer = _ask(stub, "default", timeout=30.0, x=tf.make_tensor_proto(x))["y"]
    np.testing.assert_array_equal(answer, x * np.float32(0.5) + 2)


def test_p35_answers_in_tensor_content_when_asked_to(models_root):
    with LocalServer({"default": models_root / "default"}, tensor_content=True) as local:
        local.wait_ready(60.0)
        with grpc.insecure_channel(local.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(_request("default", x=[2.0, 4.0]), 10.0).outputs["y"]
    assert np.frombuffer(answer.tensor_content, np.float32).tolist() == [3.0, 4.0]
    assert not answer.float_val


def test_p36_answers_on_a_unix_socket(models_root, tmp_path):
    with LocalServer({"default": models_root / "default"}, socket_path=tmp_path / "socket") as local:
        local.wait_ready(60.0)
        for address in (f"unix:{tmp_path / 'socket'}", local.address):
            with grpc.insecure_channel(address) as channel:
                assert _ask(prediction_service_pb2_grpc.PredictionServiceStub(channel), "default", x=[2.0])["y"] == [
                    3.0
                ]


def test_strings_are_looked_up_in_a_vocabulary_inside_the_model(stub):
    answers = _ask(stub, "colours", colour=tf.make_tensor_proto([b"blue", b"red", b"mauve", b"x" * 50]))
    assert answers["id"].tolist() == [2, 0, -1, -1]
    assert answers["same"].tolist() == [b"blue", b"red", b"mauve", b"x" * 50]
    assert answers["twice"].tolist() == [b"blueblue", b"redred", b"mauvemauve", b"x" * 100]


def test_concurrent_calls_do_not_mix(stub):
    def ask(number):
        x = [float(number)] * (number % 7 + 1)
        return _ask(stub, "default", x=x)["y"].tolist() == [number / 2 + 2] * len(x)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(400)))


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_what_the_local_server_does_not_offer_says_so(stub, server, method):
    if server.local is None:
        pytest.skip("TensorFlow Serving offers it")
    requests = {
        "Classify": classification_pb2.ClassificationRequest(),
        "Regress": regression_pb2.RegressionRequest(),
        "MultiInference": inference_pb2.MultiInferenceRequest(),
    }
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(requests[method], 10.0)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "Predict" in caught.value.details()
