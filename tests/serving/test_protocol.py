"""Our wire messages against the official ones: same names and numbers, and each reads what the other wrote."""

import pickle
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, wrappers_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2, tensor_bundle_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
)

from serving import protocol

OFFICIAL = {
    message.DESCRIPTOR.full_name: message
    for message in (
        tensor_pb2.TensorProto,
        model_pb2.ModelSpec,
        predict_pb2.PredictRequest,
        predict_pb2.PredictResponse,
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
        get_model_metadata_pb2.SignatureDefMap,
        meta_graph_pb2.MetaGraphDef,
        meta_graph_pb2.SignatureDef,
        config_pb2.ConfigProto,
        config_pb2.RunOptions,
        prediction_log_pb2.PredictionLog,
        model_management_pb2.ReloadConfigRequest,
        model_management_pb2.ReloadConfigResponse,
        saved_model_pb2.SavedModel,
        tensor_bundle_pb2.BundleHeaderProto,
    )
}
OURS = {
    message.DESCRIPTOR.full_name: message
    for message in (
        protocol.TensorProto,
        protocol.ModelSpec,
        protocol.PredictRequest,
        protocol.PredictResponse,
        protocol.GetModelStatusRequest,
        protocol.GetModelStatusResponse,
        protocol.GetModelMetadataRequest,
        protocol.GetModelMetadataResponse,
        protocol.SignatureDefMap,
        protocol.MetaGraphDef,
        protocol.SignatureDef,
        protocol.ConfigProto,
        protocol.RunOptions,
        protocol.PredictionLog,
        protocol.ReloadConfigRequest,
        protocol.ReloadConfigResponse,
        protocol.SavedModel,
        protocol.BundleHeaderProto,
    )
}


NOT_COMPARED = {
    # No official ones are installed.
    *("tensorflow.serving.MonitoringConfig", "tensorflow.serving.PrometheusConfig"),
    # Only the place of the messages in it.
    "tensorflow.serving.FileSystemStoragePathSourceConfig",
}


def _reachable(descriptor, found):
    if descriptor.full_name not in found:
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                _reachable(field.message_type, found)
    return found


def _all(messages):
    found: dict[str, Any] = {}
    for message in messages.values():
        _reachable(message.DESCRIPTOR, found)
    return found


def _facts(field):
    referred = field.message_type or field.enum_type
    oneof = field.containing_oneof
    return (field.number, field.type, field.label, referred and referred.full_name, oneof and oneof.name)


BYTES = {("tensorflow.serving.StatusProto", "error_message")}
"""What we take as bytes and is officially text, of which a server may make no UTF-8."""


def test_every_declared_message_is_compared():
    assert set(protocol.message_names()) - NOT_COMPARED <= set(_all(OURS))
    assert set(OURS) == set(OFFICIAL)


@pytest.mark.parametrize("full_name", sorted(_all(OURS)))
def test_fields_have_the_official_numbers_and_types(full_name):
    ours, official = _all(OURS)[full_name], _all(OFFICIAL)[full_name]
    assert ours is not official
    for field in ours.fields:
        expected = _facts(official.fields_by_name[field.name])
        if (full_name, field.name) in BYTES:
            assert (expected[1], field.type) == (field.TYPE_STRING, field.TYPE_BYTES)
            expected = (expected[0], field.TYPE_BYTES, *expected[2:])
        assert _facts(field) == expected, field.name


@pytest.mark.parametrize(
    ("enum", "numbers"),
    [
        (types_pb2.DataType, protocol.DATA_TYPES),
        (
            get_model_status_pb2.ModelVersionStatus.State,
            {name: number for number, name in protocol.STATES.items()},
        ),
    ],
)
def test_enum_values_are_the_official_ones(enum, numbers):
    for name, number in numbers.items():
        assert enum.Value(name) == number


def test_status_codes_are_grpc_s_in_order():
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {
        name: number for number, name in enumerate(protocol.CODES)
    }


def _fill(message, official, depth=0):
    """Sets every field that our message declares, in an official or in our message."""
    for index, field in enumerate(message.DESCRIPTOR.fields):
        if field.name not in official.DESCRIPTOR.fields_by_name or depth > 4:
            continue
        value = getattr(message, field.name)
        kind = descriptor_pb2.FieldDescriptorProto
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                value[f"key {index}"] = index + 1
            else:
                _fill(value[f"key {index}"], _child(official, field), depth + 1)
        elif field.message_type is not None:
            child = value.add() if field.label == kind.LABEL_REPEATED else value
            child.SetInParent()
            _fill(child, _child(official, field), depth + 1)
        else:
            scalar = {kind.TYPE_STRING: "ü", kind.TYPE_BYTES: b"\x00\xff", kind.TYPE_BOOL: True}.get(
                field.type, index + 1
            )
            scalar = 10 if field.type == kind.TYPE_ENUM else scalar
            if (message.DESCRIPTOR.full_name, field.name) in BYTES:
                scalar = b"text"
            if field.label == kind.LABEL_REPEATED:
                value.extend([scalar, scalar])
            else:
                setattr(message, field.name, scalar)
    return message


def _child(official, field):
    """An instance of the official (or our) type of a field, to see which fields both have."""
    other = official.DESCRIPTOR.fields_by_name[field.name].message_type
    if other.GetOptions().map_entry:
        other = other.fields_by_name["value"].message_type
    special = {"google.protobuf.Any": any_pb2.Any, "google.protobuf.Int64Value": wrappers_pb2.Int64Value}
    return special.get(other.full_name) or other._concrete_class()


@pytest.mark.parametrize("full_name", sorted(OURS))
def test_what_we_write_the_official_messages_read_and_back(full_name):
    official, ours = OFFICIAL[full_name], OURS[full_name]
    written = _fill(ours(), official())
    read = official.FromString(written.SerializeToString())
    # Every field was understood: what is printed is the same text, and nothing was kept as unknown.
    assert str(read) == str(written)
    assert ours.FromString(read.SerializeToString()) == written


def test_signatures_travel_inside_any():
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["s"].CopyFrom(meta_graph_pb2.SignatureDef(method_name="m"))
    signatures.signature_def["s"].inputs["x"].name = "x:0"
    signatures.signature_def["s"].defaults["x"].dtype = types_pb2.DT_INT64
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    read = protocol.GetModelMetadataResponse.FromString(response.SerializeToString())
    found = protocol.SignatureDefMap.FromString(read.metadata["signature_def"].value).signature_def["s"]
    assert (found.method_name, found.inputs["x"].name, found.defaults["x"].dtype) == ("m", "x:0", 9)


def test_setting_a_label_clears_the_version():
    spec = protocol.ModelSpec(name="m")
    spec.version.value = 3
    spec.version_label = "stable"
    assert spec.WhichOneof("version_choice") == "version_label"


def test_a_serving_error_survives_pickling():
    error = pickle.loads(pickle.dumps(protocol.ServingError("NOT_FOUND", "no such model")))
    assert (error.code, error.details, str(error)) == ("NOT_FOUND", "no such model", "NOT_FOUND: no such model")
