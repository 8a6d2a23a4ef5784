"""TensorFlow Serving's gRPC services over the models' versions."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import grpc

from serving import protocol
from serving.protocol import CODES, SERVICES, ServingError
from serving.server.limits import MOST_MESSAGE_BYTES, parse
from serving.server.model_versions import ModelVersions
from serving.server.servable import Servable

_LONGEST_DETAILS = 1024
"""Bytes, as TensorFlow Serving cuts them; gRPC sends most of them as three, and clients take 8 KB."""
LONGEST_CALL_S = 60.0
_SIGNATURES = "signature_def"
_A_DAY_S = 86400.0
_STATES = {name: number for number, name in protocol.STATES.items()}
_NOT_OFFERED = {"predict": ("Classify", "Regress", "MultiInference"), "model": ("HandleReloadConfigRequest",)}


class Models:
    """The models of a server by name, and the labels of their versions."""

    def __init__(self, models: Mapping[str, ModelVersions], labels: Mapping[str, Mapping[str, int]]):
        self._models, self._labels = models, labels

    def named(self, name: str) -> ModelVersions | None:
        """The versions of a model; None for an unknown name."""
        return self._models.get(name)

    @contextlib.contextmanager
    def borrow(self, spec: Any) -> Iterator[tuple[int, Servable]]:
        """The version that a ModelSpec means, kept loaded for the length of the block.

        Raises:
          ServingError: INVALID_ARGUMENT without a name or with an unknown label, NOT_FOUND if it is not loaded.
        """
        if not spec.name:
            raise ServingError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        if choice == "version_label":
            number = self._labels.get(spec.name, {}).get(spec.version_label)
            if number is None:
                raise ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        model = self.named(spec.name)
        if model is None:
            servable = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {servable}")
        with model.borrow(number) as version:
            yield version


class Service:
    """Predict, GetModelMetadata and GetModelStatus.

    A call that its client has cancelled goes on until TensorFlow is done with it, since nothing stops a single run but
    its deadline. So every run has one, and a server with nothing but runs refuses further ones at once.

    Args:
      models: what to serve.
      tensor_content: answers in `tensor_content` instead of repeated fields.
      most_runs: Predict calls at a time.
      most_message_bytes: of a request.
      longest_call_s: a run ends after it with DEADLINE_EXCEEDED, whatever its client's deadline.
    """

    def __init__(
        self,
        models: Models,
        tensor_content: bool = False,
        most_runs: int = 8,
        most_message_bytes: int = MOST_MESSAGE_BYTES,
        longest_call_s: float = LONGEST_CALL_S,
    ):
        self._models, self._tensor_content = models, tensor_content
        self._most_message_bytes, self._longest_call_s = most_message_bytes, longest_call_s
        self._free = threading.BoundedSemaphore(most_runs)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a gRPC server needs to offer both of TensorFlow Serving's services."""
        predict = {
            "Predict": self._handler(self.predict, protocol.PredictRequest),
            "GetModelMetadata": self._handler(self.metadata, protocol.GetModelMetadataRequest),
        }
        model = {"GetModelStatus": self._handler(self.status, protocol.GetModelStatusRequest)}
        services = {"predict": predict, "model": model}
        for service, names in _NOT_OFFERED.items():
            services[service].update({name: _not_offered(name) for name in names})
        return [grpc.method_handlers_generic_handler(SERVICES[name], methods) for name, methods in services.items()]

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a PredictRequest."""
        response = protocol.PredictResponse()
        with self._place(), self._models.borrow(request.model_spec) as (version, servable):
            remaining = _time_left(context)
            limited = remaining is None or remaining > self._longest_call_s
            try:
                timeout_s = self._longest_call_s if limited else remaining
                servable.predict(request, response, timeout_s, self._tensor_content)
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
        model = self._models.named(spec.name)
        states = model.states() if model else []
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
            status.status.error_message = error.details if error else ""
        return response

    def _handler(self, method: Callable[[Any, grpc.ServicerContext], Any], request_type: Any) -> grpc.RpcMethodHandler:
        """Asks for the ModelSpec that every call needs, and turns a ServingError into the call's status."""

        def answer(message: bytes, context: grpc.ServicerContext) -> Any:
            try:
                if not context.is_active():
                    raise ServingError("CANCELLED", "the client has given the call up")
                request = parse(message, request_type, self._most_message_bytes)
                if not request.HasField("model_spec"):
                    raise ServingError("INVALID_ARGUMENT", "Missing ModelSpec")
                return method(request, context)
            except ServingError as error:
                _refuse(context, error.code, error.details)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=lambda response: response.SerializeToString()
        )


def _not_offered(name: str) -> grpc.RpcMethodHandler:
    def answer(request: bytes, context: grpc.ServicerContext) -> NoReturn:
        offered = "this local server offers Predict, GetModelMetadata and GetModelStatus"
        _refuse(context, "UNIMPLEMENTED", f"{name}: {offered}")

    return grpc.unary_unary_rpc_method_handler(answer)


def _refuse(context: grpc.ServicerContext, code: str, details: str) -> NoReturn:
    text = details.encode(errors="replace")
    if len(text) > _LONGEST_DETAILS:
        details = text[:_LONGEST_DETAILS].decode(errors="ignore") + "...TRUNCATED"
    context.abort(grpc.StatusCode[code], details)
    raise AssertionError("abort() has raised already")


def _time_left(context: grpc.ServicerContext) -> float | None:
    remaining = context.time_remaining()
    if remaining is None or remaining > _A_DAY_S:
        return None
    if remaining <= 0:
        raise ServingError("DEADLINE_EXCEEDED", "the deadline passed before the run began")
    return float(remaining)
