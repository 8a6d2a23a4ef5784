"""gRPC servers of scripted models, which may be slow, refuse, or change their version; without TensorFlow."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from serving import protocol, tensors
from serving.protocol import DATA_TYPES, SERVICES

Tensors = Mapping[str, tuple[str, list[int] | None]]


@dataclass
class ScriptedModel:
    """A model with one signature besides those of an export.

    Args:
      answer: outputs for inputs.
      inputs: type and shape by name, -1 for any size; None for any shape.
      signature: its name.
      optional: inputs with a default.
      version: that answers.
      pause_s: until it answers.
      refusal: code and details instead of an answer.
      requests: the inputs that it was asked with.
    """

    answer: Callable[[dict[str, np.ndarray]], Mapping[str, Any]]
    inputs: Tensors
    signature: str = "serving_default"
    optional: tuple[str, ...] = ()
    version: int = 1
    pause_s: float = 0.0
    refusal: tuple[grpc.StatusCode, str] | None = None
    requests: list[dict[str, np.ndarray]] = field(default_factory=list)

    def metadata(self) -> Any:
        definitions = protocol.SignatureDefMap()
        for name in (self.signature, "examples", "transform_features"):
            definitions.signature_def[name].method_name = "predict"
        definition = definitions.signature_def[self.signature]
        for name, (dtype, shape) in self.inputs.items():
            info = definition.inputs[name]
            info.dtype = DATA_TYPES[f"DT_{dtype}"]
            info.tensor_shape.unknown_rank = shape is None
            for size in shape or ():
                info.tensor_shape.dim.add(size=size)
        for name in self.optional:
            definition.defaults[name].dtype = definition.inputs[name].dtype
        return definitions

    def predict(self, request: Any, context: Any) -> Any:
        received = {name: tensors.from_proto(proto) for name, proto in request.inputs.items()}
        self.requests.append(received)
        threading.Event().wait(self.pause_s)
        if self.refusal:
            context.abort(*self.refusal)
        required = self.inputs.keys() - set(self.optional)
        if not required <= received.keys() <= self.inputs.keys():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"inputs {sorted(received)}; expected {sorted(required)}")
        response = protocol.PredictResponse()
        for name, values in self.answer(received).items():
            if name in request.output_filter or not request.output_filter:
                tensors.to_proto(values, response.outputs[name])
        return response


class ScriptedServer:
    """Serves scripted models; a context manager.

    Args:
      models: by name.
      port: 0 takes a free one.
    """

    def __init__(self, models: Mapping[str, ScriptedModel], port: int = 0):
        self.models = dict(models)
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        for service, calls in {
            "predict": {
                "Predict": (self._predict, protocol.PredictRequest),
                "GetModelMetadata": (self._metadata, protocol.GetModelMetadataRequest),
            },
            "model": {"GetModelStatus": (self._status, protocol.GetModelStatusRequest)},
        }.items():
            handlers = {
                name: grpc.unary_unary_rpc_method_handler(
                    method, message.FromString, lambda response: response.SerializeToString()
                )
                for name, (method, message) in calls.items()
            }
            self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICES[service], handlers)])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> "ScriptedServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _model(self, request: Any, context: Any) -> ScriptedModel:
        if request.model_spec.name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        return self.models[request.model_spec.name]

    def _answered(self, request: Any, response: Any, model: ScriptedModel) -> Any:
        response.model_spec.name, response.model_spec.version.value = request.model_spec.name, model.version
        return response

    def _predict(self, request: Any, context: Any) -> Any:
        model = self._model(request, context)
        return self._answered(request, model.predict(request, context), model)

    def _metadata(self, request: Any, context: Any) -> Any:
        model, response = self._model(request, context), protocol.GetModelMetadataResponse()
        response.metadata["signature_def"].value = model.metadata().SerializeToString()
        return self._answered(request, response, model)

    def _status(self, request: Any, context: Any) -> Any:
        model, response = self._model(request, context), protocol.GetModelStatusResponse()
        response.model_version_status.add(version=model.version, state=30)
        return response
