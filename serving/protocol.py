"""TensorFlow Serving's wire messages and status codes, without TensorFlow.

The messages live in a descriptor pool of their own, under the names and numbers of the official ones, so that both
can live in one process. Only fields that the client and the local server use are declared; others survive a round
trip unread.
"""

import re
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

from transforms.errors import ConsortError

SERVICES = {"predict": "tensorflow.serving.PredictionService", "model": "tensorflow.serving.ModelService"}

CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""Status codes by number; gRPC and TensorFlow share them."""

_DATA_TYPES = (
    *("INVALID", "FLOAT", "DOUBLE", "INT32", "UINT8", "INT16", "INT8", "STRING", "COMPLEX64", "INT64", "BOOL"),
    *("QINT8", "QUINT8", "QINT32", "BFLOAT16", "QINT16", "QUINT16", "UINT16", "COMPLEX128", "HALF"),
    *("RESOURCE", "VARIANT", "UINT32", "UINT64"),
)

_ENUMS: dict[str, dict[str, int]] = {
    "tensorflow.DataType": {f"DT_{name}": number for number, name in enumerate(_DATA_TYPES)},
    "tensorflow.error.Code": {name: number for number, name in enumerate(CODES)},
    "tensorflow.serving.ModelVersionStatus.State": {
        "UNKNOWN": 0,
        "START": 10,
        "LOADING": 20,
        "AVAILABLE": 30,
        "UNLOADING": 40,
        "END": 50,
    },
    "tensorflow.serving.ModelType": {"MODEL_TYPE_UNSPECIFIED": 0, "TENSORFLOW": 1, "OTHER": 2},
}

_MESSAGES: dict[str, tuple[str, ...]] = {
    "tensorflow.TensorShapeProto.Dim": ("int64 size = 1", "string name = 2"),
    "tensorflow.TensorShapeProto": ("repeated tensorflow.TensorShapeProto.Dim dim = 2", "bool unknown_rank = 3"),
    "tensorflow.TensorProto": (
        "tensorflow.DataType dtype = 1",
        "tensorflow.TensorShapeProto tensor_shape = 2",
        "bytes tensor_content = 4",
        "repeated int32 half_val = 13",
        "repeated float float_val = 5",
        "repeated double double_val = 6",
        "repeated int32 int_val = 7",
        "repeated bytes string_val = 8",
        "repeated float scomplex_val = 9",
        "repeated int64 int64_val = 10",
        "repeated bool bool_val = 11",
        "repeated double dcomplex_val = 12",
        "repeated uint32 uint32_val = 16",
        "repeated uint64 uint64_val = 17",
    ),
    "tensorflow.TensorInfo": (
        "oneof encoding string name = 1",
        "tensorflow.DataType dtype = 2",
        "tensorflow.TensorShapeProto tensor_shape = 3",
    ),
    "tensorflow.SignatureDef": (
        "map tensorflow.TensorInfo inputs = 1",
        "map tensorflow.TensorInfo outputs = 2",
        "string method_name = 3",
        "map tensorflow.TensorProto defaults = 4",
    ),
    "tensorflow.serving.ModelSpec": (
        "string name = 1",
        "oneof version_choice google.protobuf.Int64Value version = 2",
        "oneof version_choice string version_label = 4",
        "string signature_name = 3",
    ),
    "tensorflow.serving.PredictRequest": (
        "tensorflow.serving.ModelSpec model_spec = 1",
        "map tensorflow.TensorProto inputs = 2",
        "repeated string output_filter = 3",
    ),
    "tensorflow.serving.PredictResponse": (
        "tensorflow.serving.ModelSpec model_spec = 2",
        "map tensorflow.TensorProto outputs = 1",
    ),
    "tensorflow.serving.GetModelStatusRequest": ("tensorflow.serving.ModelSpec model_spec = 1",),
    # Officially a string; but TensorFlow Serving puts bytes of a file into it, and the answer could not be read then.
    "tensorflow.serving.StatusProto": ("tensorflow.error.Code error_code = 1", "bytes error_message = 2"),
    "tensorflow.serving.ModelVersionStatus": (
        "int64 version = 1",
        "tensorflow.serving.ModelVersionStatus.State state = 2",
        "tensorflow.serving.StatusProto status = 3",
    ),
    "tensorflow.serving.GetModelStatusResponse": (
        "repeated tensorflow.serving.ModelVersionStatus model_version_status = 1",
    ),
    "tensorflow.serving.GetModelMetadataRequest": (
        "tensorflow.serving.ModelSpec model_spec = 1",
        "repeated string metadata_field = 2",
    ),
    "tensorflow.serving.GetModelMetadataResponse": (
        "tensorflow.serving.ModelSpec model_spec = 1",
        "map google.protobuf.Any metadata = 2",
    ),
    "tensorflow.serving.SignatureDefMap": ("map tensorflow.SignatureDef signature_def = 1",),
    "tensorflow.serving.FileSystemStoragePathSourceConfig": (),
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy": (
        "oneof policy_choice tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest "
        "latest = 100",
        "oneof policy_choice tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.All all = 101",
        "oneof policy_choice tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific "
        "specific = 102",
    ),
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest": ("uint32 num_versions = 1",),
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.All": (),
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific": (
        "repeated int64 versions = 1",
    ),
    "tensorflow.serving.LogCollectorConfig": ("string type = 1", "string filename_prefix = 2"),
    "tensorflow.serving.SamplingConfig": ("double sampling_rate = 1",),
    "tensorflow.serving.LoggingConfig": (
        "tensorflow.serving.LogCollectorConfig log_collector_config = 1",
        "tensorflow.serving.SamplingConfig sampling_config = 2",
    ),
    "tensorflow.serving.ModelConfig": (
        "string name = 1",
        "string base_path = 2",
        "tensorflow.serving.ModelType model_type = 3",
        "string model_platform = 4",
        "tensorflow.serving.LoggingConfig logging_config = 6",
        "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy model_version_policy = 7",
        "map int64 version_labels = 8",
    ),
    "tensorflow.serving.ModelConfigList": ("repeated tensorflow.serving.ModelConfig config = 1",),
    "tensorflow.serving.ModelServerConfig": (
        "oneof config tensorflow.serving.ModelConfigList model_config_list = 1",
        "oneof config google.protobuf.Any custom_model_config = 2",
    ),
    "tensorflow.serving.ReloadConfigRequest": ("tensorflow.serving.ModelServerConfig config = 1",),
    "tensorflow.serving.ReloadConfigResponse": ("tensorflow.serving.StatusProto status = 1",),
    "tensorflow.serving.PrometheusConfig": ("bool enable = 1", "string path = 2"),
    "tensorflow.serving.MonitoringConfig": ("tensorflow.serving.PrometheusConfig prometheus_config = 1",),
    # What the local server needs beside: a model's meta graph, a session's options, a warm-up record.
    "tensorflow.MetaGraphDef.MetaInfoDef": ("repeated string tags = 4",),
    "tensorflow.SaverDef": ("string restore_op_name = 3",),
    "tensorflow.AssetFileDef": ("string filename = 2",),
    "tensorflow.MetaGraphDef": (
        "tensorflow.MetaGraphDef.MetaInfoDef meta_info_def = 1",
        "tensorflow.SaverDef saver_def = 3",
        "map tensorflow.SignatureDef signature_def = 5",
        "repeated tensorflow.AssetFileDef asset_file_def = 6",
    ),
    "tensorflow.SavedModel": ("repeated tensorflow.MetaGraphDef meta_graphs = 2",),
    "tensorflow.BundleHeaderProto": ("int32 num_shards = 1",),
    "tensorflow.GPUOptions": ("bool allow_growth = 4",),
    "tensorflow.ConfigProto": (
        "int32 intra_op_parallelism_threads = 2",
        "int32 inter_op_parallelism_threads = 5",
        "tensorflow.GPUOptions gpu_options = 6",
    ),
    "tensorflow.RunOptions": ("int64 timeout_in_ms = 2",),
    "tensorflow.Example": (),
    "tensorflow.serving.ExampleList": ("repeated tensorflow.Example examples = 1",),
    "tensorflow.serving.ExampleListWithContext": (
        "repeated tensorflow.Example examples = 1",
        "tensorflow.Example context = 2",
    ),
    "tensorflow.serving.Input": (
        "oneof kind tensorflow.serving.ExampleList example_list = 1",
        "oneof kind tensorflow.serving.ExampleListWithContext example_list_with_context = 2",
    ),
    "tensorflow.serving.ClassificationRequest": (
        "tensorflow.serving.ModelSpec model_spec = 1",
        "tensorflow.serving.Input input = 2",
    ),
    "tensorflow.serving.RegressionRequest": (
        "tensorflow.serving.ModelSpec model_spec = 1",
        "tensorflow.serving.Input input = 2",
    ),
    "tensorflow.serving.InferenceTask": (
        "tensorflow.serving.ModelSpec model_spec = 1",
        "string method_name = 2",
    ),
    "tensorflow.serving.MultiInferenceRequest": (
        "repeated tensorflow.serving.InferenceTask tasks = 1",
        "tensorflow.serving.Input input = 2",
    ),
    "tensorflow.serving.ClassifyLog": ("tensorflow.serving.ClassificationRequest request = 1",),
    "tensorflow.serving.RegressLog": ("tensorflow.serving.RegressionRequest request = 1",),
    "tensorflow.serving.PredictLog": ("tensorflow.serving.PredictRequest request = 1",),
    "tensorflow.serving.MultiInferenceLog": ("tensorflow.serving.MultiInferenceRequest request = 1",),
    "tensorflow.serving.SessionRunLog": (),
    "tensorflow.serving.PredictStreamedLog": (),
    "tensorflow.serving.PredictionLog": (
        "oneof log_type tensorflow.serving.ClassifyLog classify_log = 2",
        "oneof log_type tensorflow.serving.RegressLog regress_log = 3",
        "oneof log_type tensorflow.serving.MultiInferenceLog multi_inference_log = 4",
        "oneof log_type tensorflow.serving.SessionRunLog session_run_log = 5",
        "oneof log_type tensorflow.serving.PredictLog predict_log = 6",
        "oneof log_type tensorflow.serving.PredictStreamedLog predict_streamed_log = 7",
    ),
}
"""Fields in the words of a .proto file; `map T` stands for `map<string, T>`, `oneof O T` for a member of O."""

_PACKAGES = ("tensorflow.serving", "tensorflow.error", "tensorflow")
_FIELD = re.compile(r"(?:(repeated|map|oneof (\w+)) )?([\w.]+) (\w+) = (\d+)")
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


class ServingError(ConsortError):
    """A server's answer other than OK.

    Args:
      code: the status code's name, e.g. `INVALID_ARGUMENT`.
      details: what the server said about it.
    """

    def __init__(self, code: str, details: str):
        self.code, self.details = code, details
        super().__init__(f"{code}: {details}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.code, self.details)


def _set_type(field: Any, type_name: str) -> None:
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
        return
    field.type = _Field.TYPE_ENUM if type_name in _ENUMS else _Field.TYPE_MESSAGE
    field.type_name = f".{type_name}"


def _add_map(message: Any, field: Any, full_name: str, value_type: str) -> None:
    entry = message.nested_type.add(name="".join(word.title() for word in field.name.split("_")) + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), value_type)
    field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
    field.type_name = f".{full_name}.{entry.name}"


def _add_field(message: Any, full_name: str, line: str) -> None:
    matched = _FIELD.fullmatch(line)
    if matched is None:
        raise ValueError(f"field of {full_name}: received {line!r}, expected the words of a .proto file")
    kind, oneof, type_name, name, number = matched.groups()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind == "map":
        _add_map(message, field, full_name, type_name)
        return
    _set_type(field, type_name)
    if kind == "repeated":
        field.label = _Field.LABEL_REPEATED
    if oneof:
        names = [declared.name for declared in message.oneof_decl]
        if oneof not in names:
            message.oneof_decl.add(name=oneof)
            names.append(oneof)
        field.oneof_index = names.index(oneof)


def _package_of(full_name: str) -> str:
    return next(package for package in _PACKAGES if full_name.startswith(f"{package}."))


def _build_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    imports = [any_pb2.DESCRIPTOR, wrappers_pb2.DESCRIPTOR]
    for imported in imports:
        pool.AddSerializedFile(imported.serialized_pb)
    files = {
        package: descriptor_pb2.FileDescriptorProto(
            name=f"consort/{package}.proto", package=package, syntax="proto3", dependency=[i.name for i in imports]
        )
        for package in _PACKAGES
    }
    files["tensorflow.serving"].dependency.extend(files[package].name for package in _PACKAGES[1:])
    messages: dict[str, Any] = {}
    # Short names first, so that a message stands before what is nested in it.
    for full_name in sorted((*_MESSAGES, *_ENUMS), key=lambda name: (name.count("."), name)):
        package = _package_of(full_name)
        *outer, name = full_name.removeprefix(f"{package}.").split(".")
        scope = messages[".".join((package, *outer))] if outer else files[package]
        if full_name in _ENUMS:
            enum = scope.enum_type.add(name=name)
            for value, number in _ENUMS[full_name].items():
                enum.value.add(name=value, number=number)
            continue
        messages[full_name] = (scope.nested_type if outer else scope.message_type).add(name=name)
        for line in _MESSAGES[full_name]:
            _add_field(messages[full_name], full_name, line)
    for package in reversed(_PACKAGES):
        pool.Add(files[package])
    return pool


_POOL = _build_pool()


def _message(full_name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))


def message_names() -> tuple[str, ...]:
    """Full names of the messages declared here."""
    return tuple(_MESSAGES)


DATA_TYPES: dict[str, int] = _ENUMS["tensorflow.DataType"]
STATES: dict[int, str] = {
    number: name for name, number in _ENUMS["tensorflow.serving.ModelVersionStatus.State"].items()
}

TensorProto = _message("tensorflow.TensorProto")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
ModelSpec = _message("tensorflow.serving.ModelSpec")
PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
GetModelStatusRequest = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
GetModelMetadataRequest = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")
ModelServerConfig = _message("tensorflow.serving.ModelServerConfig")
ReloadConfigRequest = _message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _message("tensorflow.serving.ReloadConfigResponse")
MonitoringConfig = _message("tensorflow.serving.MonitoringConfig")
MetaGraphDef = _message("tensorflow.MetaGraphDef")
SignatureDef = _message("tensorflow.SignatureDef")
ConfigProto = _message("tensorflow.ConfigProto")
RunOptions = _message("tensorflow.RunOptions")
PredictionLog = _message("tensorflow.serving.PredictionLog")
SavedModel = _message("tensorflow.SavedModel")
BundleHeaderProto = _message("tensorflow.BundleHeaderProto")
