"""TensorFlow Serving's gRPC services over the models' versions."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc

from serving import protocol
from serving.protocol import CODES, SERVICES, ServingError
from serving.server.limits import MOST_MESSAGE_BYTES, parse
from serving.server.metrics import Metrics
from serving.server.model_config import models_of
from serving.server.models import Models

_LONGEST_DETAILS = 1024
"""Bytes, as TensorFlow Serving cuts them; gRPC sends most of them as three, and clients take 8 KB."""
LONGEST_CALL_S = 60.0
_SIGNATURES = "signature_def"
_A_DAY_S = 86400.0
_STATES = {name: number for number, name in protocol.STATES.items()}
_NOT_OFFERED = ("Classify", "Regress", "MultiInference")


class Service:
    """Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest.

    A call that its client has cancelled goes on until TensorFlow is done with it, since nothing stops a single run but
    its deadline. So every run has one, and a server with nothing but runs refuses further ones at once.

    Args:
      models: what to serve.
      tensor_content: answers in `tensor_content` instead of repeated fields.
      most_runs: Predict calls at a time.
      most_message_bytes: of a request.
      longest_call_s: a run ends after it with DEADLINE_EXCEEDED, whatever its client's deadline.
      metrics: what Predict is counted and measured in; None counts nothing.
    """

    def __init__(
        self,
        models: Models,
        tensor_content: bool = False,
        most_runs: int = 8,
        most_message_bytes: int = MOST_MESSAGE_BYTES,
        longest_call_s: float = LONGEST_CALL_S,
        metrics: Metrics | None = None,
    ):
        self._models, self._tensor_content, self._metrics = models, tensor_content, metrics
        self._most_message_bytes, self._longest_call_s = most_message_bytes, longest_call_s
        self._free = threading.BoundedSemaphore(most_runs)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a gRPC server needs to offer both of TensorFlow Serving's services."""
        predict = self.predict if self._metrics is None else self._counted
        services = {
            "predict": {
                "Predict": self._handler(predict, protocol.PredictRequest),
                "GetModelMetadata": self._handler(self.metadata, protocol.GetModelMetadataRequest),
                **{name: _not_offered(name) for name in _NOT_OFFERED},
            },
            "model": {
                "GetModelStatus": self._handler(self.status, protocol.GetModelStatusRequest),
                "HandleReloadConfigRequest": self._handler(self.reload, protocol.ReloadConfigRequest),
            },
        }
        return [grpc.method_handlers_generic_handler(SERVICES[name], methods) for name, methods in services.items()]

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a PredictRequest."""
        response = protocol.PredictResponse()
        with self._place(), self._models.borrow(request.model_spec) as (version, servable):
            remaining = _time_left(context)
            limited = remaining is None or remaining > self._longest_call_s
            try:
                timeout_s = self._longest_call_s if limited else remaining
                seconds = servable.predict(request, response, timeout_s, self._tensor_content)
                if self._metrics is not None:
                    self._metrics.observe_run(request.model_spec.name, seconds)
            except ServingError as error:
                if limited and error.code == "DEADLINE_EXCEEDED":
                    message = f"stopped after {self._longest_call_s:g} s, the longest that a call may take here"
                    raise ServingError(error.code, message) from None
                raise
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        return response

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if not self._free.acquire(blocking=False):
            # In the words of gRPC's own full servers: a client may ask again, since nothing has run.
            raise ServingError("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
        try:
            yield
        finally:
            self._free.release()

    def _counted(self, request: Any, context: grpc.ServicerContext) -> Any:
        metrics: Any = self._metrics
        start, status = time.perf_counter(), "UNKNOWN"
        try:
            response = self.predict(request, context)
            status = "OK"
            return response
        except ServingError as error:
            status = error.code
            raise
        finally:
            name = request.model_spec.name
            metrics.count_request(name if name in self._models else None, status, time.perf_counter() - start)

    def metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a GetModelMetadataRequest with the signatures."""
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise ServingError("INVALID_ARGUMENT", message)
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise ServingError("INVALID_ARGUMENT", f"Metadata field {field} is not supported")
        signatures = protocol.SignatureDefMap()
        with self._models.borrow(request.model_spec) as (version, servable):
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response = protocol.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata[_SIGNATURES].Pack(signatures)
        return response

    def status(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a GetModelStatusRequest; a label in it is ignored, as by TensorFlow Serving."""
        spec = request.model_spec
        states = self._models.states(spec.name)
        if spec.HasField("version"):
            states = [state for state in states if state[0] == spec.version.value]
            missing = f"Could not find version {spec.version.value} of model {spec.name}"
        else:
            missing = f"Could not find any versions of model {spec.name}"
        if not states:
            raise ServingError("NOT_FOUND", missing)
        response = protocol.GetModelStatusResponse()
        for number, state, error in states:
            status = response.model_version_status.add(version=number, state=_STATES[state])
            status.status.error_code = CODES.index(error.code) if error else 0
            status.status.error_message = error.details.encode(errors="replace") if error else b""
        return response

    def reload(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Replaces the models by those of a ReloadConfigRequest; answers when the new ones are AVAILABLE."""
        if request.config.WhichOneof("config") != "model_config_list":
            message = "ServerModelConfig type not supported by HandleReloadConfigRequest."
            raise ServingError("INVALID_ARGUMENT", f"{message} Only ModelConfigList is currently supported")
        self._models.reload(models_of(request.config), context.is_active)
        return protocol.ReloadConfigResponse()

    def _handler(self, method: Callable[[Any, grpc.ServicerContext], Any], request_type: Any) -> grpc.RpcMethodHandler:
        """Asks for the ModelSpec that a call needs, and turns a ServingError into the call's status."""

        def answer(message: bytes, context: grpc.ServicerContext) -> Any:
            try:
                if not context.is_active():
                    raise ServingError("CANCELLED", "the client has given the call up")
                request = parse(message, request_type, self._most_message_bytes)
                if "model_spec" in request_type.DESCRIPTOR.fields_by_name and not request.HasField("model_spec"):
                    raise ServingError("INVALID_ARGUMENT", "Missing ModelSpec")
                return method(request, context)
            except ServingError as error:
                _refuse(context, error.code, error.details)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=lambda response: response.SerializeToString()
        )


def _not_offered(name: str) -> grpc.RpcMethodHandler:
    def answer(request: bytes, context: grpc.ServicerContext) -> NoReturn:
        offered = "this local server offers Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest"
        _refuse(context, "UNIMPLEMENTED", f"{name}: {offered}")

    return grpc.unary_unary_rpc_method_handler(answer)


def _refuse(context: grpc.ServicerContext, code: str, details: str) -> NoReturn:
    text = details.encode(errors="replace")
    cut = "...TRUNCATED" if len(text) > _LONGEST_DETAILS else ""
    context.abort(grpc.StatusCode[code], text[:_LONGEST_DETAILS].decode(errors="ignore") + cut)
    raise AssertionError("abort() has raised already")


def _time_left(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    if remaining is None or remaining > _A_DAY_S:
        return None
    if remaining <= 0:
        raise ServingError("DEADLINE_EXCEEDED", "the deadline passed before the run began")
    return float(remaining)
