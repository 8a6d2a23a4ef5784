"""GetModelMetadata and GetModelStatus; the names begin with the numbers of the conformance list."""

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.client import PredictClient, Tensor

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.fixture(scope="module")
def channel(server):
    return server.channel


def _metadata(channel, name="default", fields=("signature_def",)):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if name is not None:
        request.model_spec.name = name
        request.model_spec.SetInParent()
    return prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request, 10.0)


def _status(channel, name, version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    if name is not None:
        request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    return model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, 10.0).model_version_status


def _refusal(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code().name, caught.value.details()


def test_d01_the_signatures_are_those_of_the_export(channel, server):
    response = _metadata(channel)
    assert (response.model_spec.name, response.model_spec.version.value) == ("default", 123)
    assert list(response.metadata) == ["signature_def"]
    answered = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(answered)
    assert {"serving_default", "regress_x_to_y"} <= set(answered.signature_def)
    if server.root is None:
        return
    graph = server.root / "default" / "00000123" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    assert dict(answered.signature_def) == dict(saved.meta_graphs[0].signature_def)


@pytest.mark.parametrize("fields", [(), ("size",)])
def test_d02_no_field_or_an_unknown_one_is_invalid(channel, fields):
    assert _refusal(_metadata, channel, fields=fields)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("name", "code"), [(None, "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT"), ("nobody", "NOT_FOUND")]
)
def test_d03_metadata_of_no_model(channel, name, code):
    assert _refusal(_metadata, channel, name)[0] == code


def test_d04_one_version_is_available(channel):
    (status,) = _status(channel, "default")
    assert (status.version, status.state, status.status.error_code) == (123, AVAILABLE, 0)
    assert status.status.error_message == ""


def test_d05_all_versions_are_listed(channel):
    found = [(status.version, status.state) for status in _status(channel, "pair")]
    assert found == [(124, AVAILABLE), (123, AVAILABLE)]


def test_d06_only_the_asked_version_is_listed(channel):
    assert [status.version for status in _status(channel, "pair", 123)] == [123]


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("nobody", None, "Could not find any versions of model nobody"),
        ("default", 7, "Could not find version 7 of model default"),
    ],
)
def test_d07_unknown_model_or_version_is_not_found(channel, name, version, said):
    assert _refusal(_status, channel, name, version) == ("NOT_FOUND", said)


def test_d08_status_without_a_model_spec_is_invalid(channel):
    assert _refusal(_status, channel, None)[0] == "INVALID_ARGUMENT"


def test_our_client_reads_the_signatures(server):
    with PredictClient(server.address) as client:
        found = client.metadata("defaults")["serving_default"]
        half = client.metadata("pair", version=123)["regress_x_to_y"]
    assert found.inputs == {"x": Tensor("float32", (None,)), "scale": Tensor("float32", ())}
    assert found.outputs == {"y": Tensor("float32", (None,))}
    assert found.defaults == {"scale"}
    assert half.inputs == {"inputs": Tensor("float32", None)}


def test_our_client_reads_the_states(server):
    with PredictClient(server.address) as client:
        assert [(s.version, s.state, s.error_code) for s in client.status("pair")] == [
            (124, "AVAILABLE", "OK"),
            (123, "AVAILABLE", "OK"),
        ]
        assert [s.version for s in client.status("pair", version=123)] == [123]
        assert client.wait_available("pair", 5.0) == 124


def test_our_client_and_the_official_stub_get_the_same_answer(server):
    with PredictClient(server.address) as client:
        found = client.predict("pair", {"x": [[2.0, 4.0]]}, version=123)
    assert (found.model, found.version, found.signature) == ("pair", 123, "serving_default")
    expected = tf.constant([[3.0, 4.0]]).numpy()
    assert found.outputs["y"].tolist() == expected.tolist()
