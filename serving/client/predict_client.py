"""A client of TensorFlow Serving's gRPC that needs no TensorFlow.

Every call has a deadline; what is retried is only what cannot have been executed twice with effect: UNAVAILABLE, and
RESOURCE_EXHAUSTED where it means a full server (see `FULL`), not a message that is too large.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np

from serving import protocol, tensors
from serving.client.inputs import Signature, Tensor, check_message, fill, number_of_items, signatures_of
from serving.client.known_models import Key, KnownModels
from serving.client.lists import padded_ids
from serving.protocol import SERVICES, ServingError

__all__ = ["Prediction", "PredictClient", "Retrieved", "ServingError", "Signature", "Tensor", "VersionStatus"]

_MESSAGE_LIMIT = 1 << 30
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0
_POLL_S = 0.1
_OF_ANOTHER_VERSION = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
"""Codes of requests whose inputs, or whose signature, a version does not have."""
Inputs = Mapping[str, Any] | Callable[[Signature], Mapping[str, Any]]
"""Inputs of a request; or a function that returns them for the signature of the version that is called."""
FULL = (
    "server threadpool exhausted",
    "concurrent rpc limit exceeded",
    "waiting in batching queue",
)
"""What the details of RESOURCE_EXHAUSTED hold, in lower case, where a server had no room and nothing has run: of gRPC's
newer servers in C++ (older ones send no details) and in Python, and of TensorFlow Serving's batching."""


@dataclass(frozen=True)
class Prediction:
    """An answer.

    Args:
      outputs: by name; strings as object arrays of bytes.
      model: the model that answered.
      version: the version that answered: log it.
      signature: the signature that answered.
    """

    outputs: dict[str, np.ndarray]
    model: str
    version: int
    signature: str


@dataclass(frozen=True)
class Retrieved:
    """The best items of each user, best first.

    Args:
      item_ids: `[B, k]`, bytes or int64; the missing marker (b"" or -1) where exclusions left too few items.
      scores: their logits `[B, k]`; there minus infinity.
      model: the model that answered.
      version: the version that answered: log it.
    """

    item_ids: np.ndarray
    scores: np.ndarray
    model: str
    version: int


@dataclass(frozen=True)
class VersionStatus:
    """State of one version.

    Args:
      version: its number.
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error_code: name of the status code that loading ended with; OK without an error.
      error_message: the error, or nothing.
    """

    version: int
    state: str
    error_code: str
    error_message: str


class PredictClient:
    """A connection to one server; usable from several threads and as a context manager.

    Args:
      address: `host:port`.
      timeout_s: deadline of a call, retries included.
      max_message_bytes: longest message to send or receive; gRPC's own limit of 4 MiB is too short for embeddings.
      credentials: for a server behind TLS; None connects in the clear.
      check_inputs: ask the server once a version for the model's signatures, so that the inputs of models of
        `consort export` are refused before they are sent, by name, if they do not fit; and lists may be ragged.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float = 5.0,
        max_message_bytes: int = _MESSAGE_LIMIT,
        credentials: grpc.ChannelCredentials | None = None,
        check_inputs: bool = True,
    ):
        if timeout_s <= 0:
            raise ValueError(f"timeout_s: received {timeout_s}; expected more than 0 seconds")
        self.address, self._timeout_s = address, timeout_s
        options = [
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            # A server that comes back is found again within a retry, not after gRPC's usual second.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options)
        self._predict = self._method("predict", "Predict", protocol.PredictResponse)
        self._status = self._method("model", "GetModelStatus", protocol.GetModelStatusResponse)
        self._metadata = self._method("predict", "GetModelMetadata", protocol.GetModelMetadataResponse)
        self._known = KnownModels(self._fetch_signatures) if check_inputs else None
        # Jitter must differ between clients that start together, so it takes no seed.
        self._jitter, self._jitter_lock = random.Random(), threading.Lock()

    def _method(self, service: str, name: str, response: Any) -> Any:
        return self._channel.unary_unary(
            f"/{SERVICES[service]}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )

    def __enter__(self) -> "PredictClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way end with CANCELLED."""
        self._channel.close()

    def predict(
        self,
        model: str,
        inputs: Inputs,
        signature: str = "",
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Asks a model.

        Args:
          model: its name on the server.
          inputs: arrays, or nested lists (floats become float32, ints int64, text UTF-8 bytes). Of models of
            `consort export` lists may have any lengths, and None is a missing value; see `inputs.prepared`. A function
            of the signature is called again where another version turns out to have another one.
          signature: empty means `serving_default`.
          version: a version's number; None means the newest.
          label: a version's label instead of its number.
          outputs: names to receive; empty means all.
          timeout_s: this call's deadline; None means the client's.

        Raises:
          ServingError: the server, or the way to it, refused; INVALID_ARGUMENT also for inputs that do not fit.
          ValueError: an input that no tensor holds, both a version and a label, or a function without `check_inputs`.
        """
        request = protocol.PredictRequest(model_spec=_model_spec(model, version, label), output_filter=outputs)
        request.model_spec.signature_name = signature
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        return self._checked(request, inputs, (model, version, label), time.monotonic() + timeout_s)

    def _checked(self, request: Any, inputs: Inputs, key: Key, deadline: float) -> Prediction:
        """Sends a request with these inputs, prepared by what is known of the model's signature."""
        if self._known is None:
            if callable(inputs):
                raise ValueError("inputs: received a function; expected arrays, as check_inputs is False; pass them")
            return _prediction(self._sent(request, inputs, deadline))
        known = self._known.of(key, _left(deadline))
        try:
            arrays = known.prepared(request, inputs)
            response = self._sent(request, arrays, deadline)
        except (ServingError, ValueError) as error:
            # What was remembered may be of an earlier version.
            stale = not known.fresh and (isinstance(error, ValueError) or error.code in _OF_ANOTHER_VERSION)
            newer = self._known.of(key, _left(deadline), again=True) if stale else known
            if newer.reported == known.reported:
                raise
            known, arrays = newer, newer.prepared(request, inputs)
            response = self._sent(request, arrays, deadline)
        self._known.answered(key, response.model_spec.version.value)
        answer = _prediction(response)
        return replace(answer, outputs=known.cut(request, answer.outputs, arrays))

    def _sent(self, request: Any, inputs: Mapping[str, Any], deadline: float) -> Any:
        fill(request.inputs, inputs)
        try:
            return self._call(self._predict, request, _left(deadline))
        except ServingError as error:
            raise ServingError(error.code, check_message(error.details)) from None

    def retrieve(
        self,
        model: str,
        inputs: Inputs,
        k: int | None = None,
        exclude: Sequence[Sequence[Any]] | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> Retrieved:
        """Asks a two-tower model for the best items of its catalogue.

        Args:
          model: its name on the server.
          inputs: raw columns of the users and of the context, as `predict` takes them.
          k: items for each user; None takes the model's default. A server that joins requests to batches needs it.
          exclude: ids to leave out, a list for each user, of any lengths; one list holds for all.
          version, label, timeout_s: as in `predict`.

        Raises:
          ServingError: the server, or the way to it, refused; INVALID_ARGUMENT for a k beyond the catalogue.
          ValueError: an input that no tensor holds, a k that is no number, or both a version and a label.
        """
        more: dict[str, Any] = {}
        if k is not None:
            more["k"] = number_of_items(k)
        if exclude is not None:
            more["exclude"] = padded_ids(exclude)
        sent: Inputs = (lambda signature: {**inputs(signature), **more}) if callable(inputs) else {**inputs, **more}
        answer = self.predict(model, sent, "retrieve", version, label, ("item_id", "score"), timeout_s)
        return Retrieved(answer.outputs["item_id"], answer.outputs["score"], answer.model, answer.version)

    def status(self, model: str, version: int | None = None) -> list[VersionStatus]:
        """States of a model's versions, newest first.

        Raises:
          ServingError: NOT_FOUND for a model or a version that the server has never seen.
        """
        request = protocol.GetModelStatusRequest(model_spec=_model_spec(model, version, None))
        response = self._call(self._status, request, None)
        versions = [
            VersionStatus(
                item.version,
                protocol.STATES.get(item.state, "UNKNOWN"),
                protocol.CODES[item.status.error_code],
                item.status.error_message.decode(errors="replace"),
            )
            for item in response.model_version_status
        ]
        return sorted(versions, key=lambda item: -item.version)

    def metadata(self, model: str, version: int | None = None, label: str | None = None) -> dict[str, Signature]:
        """The signatures of a model by name.

        Raises:
          ServingError: NOT_FOUND for a model or a version that is not loaded.
        """
        spec = _model_spec(model, version, label)
        request = protocol.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        return _signatures(self._call(self._metadata, request, None))

    def prefetch(
        self, model: str, version: int | None = None, label: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Fetches the signatures that inputs are checked against, so that a first call takes no longer than later ones.

        Raises:
          ServingError: the server does not report them.
        """
        if self._known is not None:
            known = self._known.of(
                (model, version, label), self._timeout_s if timeout_s is None else timeout_s, again=True
            )
            if known.error is not None:
                raise known.error

    def _fetch_signatures(self, key: Key, timeout_s: float) -> tuple[int, dict[str, Signature]]:
        request = protocol.GetModelMetadataRequest(model_spec=_model_spec(*key), metadata_field=["signature_def"])
        response = self._once(self._metadata, request, timeout_s)
        return response.model_spec.version.value, _signatures(response)

    def wait_available(self, model: str, timeout_s: float = 60.0) -> int:
        """Waits until a version of the model answers, and returns its number.

        Raises:
          ServingError: no version can become available because loading failed, or none did in time.
        """
        deadline = time.monotonic() + timeout_s
        last = "no answer yet"
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                response = self._once(self._status, _status_request(model), min(remaining, self._timeout_s))
            except ServingError as error:
                last = str(error)
                if error.code not in ("NOT_FOUND", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"):
                    raise
            else:
                states = response.model_version_status
                ready = [one.version for one in states if protocol.STATES.get(one.state) == "AVAILABLE"]
                if ready:
                    return int(max(ready))
                last = _describe(response)
                _raise_if_failed(model, response)
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))
        raise ServingError(
            "DEADLINE_EXCEEDED", f"{model} at {self.address} is not available after {timeout_s:g} s; last: {last}"
        )

    def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return self._once(method, request, max(0.0, deadline - time.monotonic()))
            except ServingError as error:
                with self._jitter_lock:
                    wait = pause * self._jitter.uniform(0.5, 1.5)
                if not _retriable(error) or time.monotonic() + wait >= deadline:
                    raise
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _once(self, method: Any, request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            # Also without details, so that an empty RESOURCE_EXHAUSTED stays recognisable.
            raise ServingError(error.code().name, error.details() or "") from None


def _prediction(response: Any) -> Prediction:
    spec = response.model_spec
    outputs = {name: tensors.from_proto(proto) for name, proto in response.outputs.items()}
    return Prediction(outputs, spec.name, spec.version.value, spec.signature_name)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _signatures(response: Any) -> dict[str, Signature]:
    return signatures_of(protocol.SignatureDefMap.FromString(response.metadata["signature_def"].value).signature_def)


def _retriable(error: ServingError) -> bool:
    if error.code != "RESOURCE_EXHAUSTED":
        return error.code == "UNAVAILABLE"
    details = error.details.strip().lower()
    return not details or any(text in details for text in FULL)


def _model_spec(model: str, version: int | None, label: str | None) -> Any:
    if version is not None and label is not None:
        raise ValueError(f"received version {version} and label {label!r}; expected one of them")
    spec = protocol.ModelSpec(name=model)
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def _status_request(model: str) -> Any:
    return protocol.GetModelStatusRequest(model_spec=_model_spec(model, None, None))


def _describe(response: Any) -> str:
    return ", ".join(f"version {s.version} {protocol.STATES.get(s.state)}" for s in response.model_version_status)


def _raise_if_failed(model: str, response: Any) -> None:
    states = list(response.model_version_status)
    failed = [s for s in states if s.status.error_code]
    if failed and all(protocol.STATES.get(s.state) == "END" for s in states):
        newest = max(failed, key=lambda s: s.version)
        reason = newest.status.error_message.decode(errors="replace")
        message = f"{model} version {newest.version} failed to load: {reason}"
        raise ServingError(protocol.CODES[newest.status.error_code], message)
