"""Predict on one loaded SavedModel, checked and answered as TensorFlow Serving does."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving import tensors
from serving.protocol import DATA_TYPES, ServingError, TensorProto
from serving.server.c_api import Tensor
from serving.server.session import Session
from serving.server.tensor_limits import MOST_REPEATED_BYTES, is_type, repeated_bytes, type_name
from serving.tensors import KINDS

DEFAULT_SIGNATURE = "serving_default"
_STRING = DATA_TYPES["DT_STRING"]


class Servable:
    """One version of a model, loaded.

    Args:
      directory: its SavedModel.
      config: a serialized ConfigProto.

    Raises:
      ServingError: loading failed.
    """

    def __init__(self, directory: str | os.PathLike[str], config: bytes = b""):
        self._session = Session(directory, config)
        self.signatures = self._session.signatures
        try:
            self._defaults = {
                name: {alias: _default(alias, proto) for alias, proto in signature.defaults.items()}
                for name, signature in self.signatures.items()
            }
        except ServingError:
            self._session.close()
            raise

    def close(self) -> None:
        """Frees the model. No call may be under way or follow."""
        self._session.close()

    def interrupt(self) -> None:
        """Ends the calls under way with CANCELLED; later ones fail."""
        self._session.interrupt()

    def predict(
        self,
        request: Any,
        response: Any,
        timeout_s: float | None = None,
        content: bool = False,
        most_repeated_bytes: int = MOST_REPEATED_BYTES,
    ) -> None:
        """Answers a PredictRequest.

        Args:
          request: its model and version have been resolved already; only the signature's name is read.
          response: filled with the outputs and the signature's name.
          timeout_s: what is left until the deadline; None means no deadline.
          content: outputs as `tensor_content` instead of repeated fields.
          most_repeated_bytes: memory of the inputs that hold fewer values than elements.

        Raises:
          ServingError: with TensorFlow Serving's code and message.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = self.signatures.get(name)
        if signature is None:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        _check_names(signature, request.inputs)
        _check_sizes(signature, request.inputs, most_repeated_bytes)
        outputs = _outputs(signature, request.output_filter)
        _check_types(signature, request.inputs)
        inputs = _inputs(signature, request.inputs, self._defaults[name])
        results = self._session.run(inputs, list(outputs.values()), timeout_s)
        response.model_spec.signature_name = name
        for alias, tensor in zip(outputs, results, strict=True):
            _answer(response.outputs[alias], alias, tensor, content)

    def run_strings(self, values: Sequence[bytes], inputs: Sequence[str], outputs: Sequence[str]) -> list[Tensor]:
        """Runs the graph on one vector of strings.

        Args:
          values: the vector.
          inputs: names of the tensors that it is fed to.
          outputs: names of the tensors to give.

        Raises:
          ServingError: with TensorFlow's code and message.
        """
        proto = TensorProto(dtype=_STRING, string_val=values)
        proto.tensor_shape.dim.add(size=len(values))
        tensor = Tensor.parse(proto.SerializeToString())
        return self._session.run([(name, tensor) for name in inputs], outputs)


def _names(aliases: Iterable[str]) -> str:
    return ",".join(sorted(aliases))


def _default(alias: str, proto: Any) -> Tensor:
    repeated_bytes(alias, proto)
    return _parse(alias, proto)


def _parse(alias: str, proto: Any) -> Tensor:
    try:
        return Tensor.parse(proto.SerializeToString())
    except ServingError:
        raise ServingError("INVALID_ARGUMENT", f"tensor parsing error: {alias}") from None


def _check_names(signature: Any, sent: Mapping[str, Any]) -> None:
    expected = signature.inputs
    if len(sent) != len(expected) and not (len(sent) < len(expected) and signature.defaults):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_names(sent)}}}) != "
            f"len({{{_names(expected)}}}). Sent extra: {{{_names(set(sent) - set(expected))}}}. "
            f"Missing but required: {{{_names(set(expected) - set(sent))}}}.",
        )
    for alias, info in expected.items():
        if alias not in sent and alias not in signature.defaults:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {{{_names(sent)}}}, or default input alias set: "
                f"{_names(signature.defaults)}",
            )
    if unknown := set(sent) - set(expected):
        raise ServingError(
            "INVALID_ARGUMENT",
            f"Inputs contains invalid name. Used request inputs: {_names(set(sent) - unknown)}, "
            f"request input: {_names(sent)}",
        )


def _check_sizes(signature: Any, sent: Mapping[str, Any], most_repeated_bytes: int) -> None:
    repeated = 0
    for alias in signature.inputs:
        # A data type that only signatures of another kind have is refused as such afterwards.
        if alias in sent and (sent[alias].dtype in KINDS or not is_type(sent[alias].dtype)):
            repeated += repeated_bytes(alias, sent[alias])
    if repeated > most_repeated_bytes:
        raise ServingError(
            "INVALID_ARGUMENT",
            f"tensor parsing error: inputs with fewer values than elements take {repeated} bytes; expected at most "
            f"{most_repeated_bytes}; send the values",
        )


def _check_types(signature: Any, sent: Mapping[str, Any]) -> None:
    # Numbered as TensorFlow numbers them, which sorts the names of the tensors.
    by_name = sorted((info.name, alias, info.dtype) for alias, info in signature.inputs.items())
    for number, (_, alias, dtype) in enumerate(by_name):
        if alias in sent and sent[alias].dtype != dtype:
            provided = type_name(sent[alias].dtype)
            said = f"Expects arg[{number}] to be {type_name(dtype)} but {provided} is provided"
            raise ServingError("INVALID_ARGUMENT", said)


def _inputs(signature: Any, sent: Mapping[str, Any], defaults: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [
        (info.name, _parse(alias, sent[alias]) if alias in sent else defaults[alias])
        for alias, info in signature.inputs.items()
    ]


def _outputs(signature: Any, wanted: Iterable[str]) -> dict[str, str]:
    """Tensor names by alias: those wanted, or all."""
    outputs: dict[str, str] = {}
    for alias in wanted:
        if alias not in signature.outputs:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_names(signature.outputs)}}}.",
            )
        if alias in outputs:
            raise ServingError("INVALID_ARGUMENT", f"duplicate output tensor alias: {alias}")
        outputs[alias] = signature.outputs[alias].name
    return outputs or {alias: info.name for alias, info in signature.outputs.items()}


def _answer(proto: Any, alias: str, tensor: Tensor, content: bool) -> None:
    kind = tensors.KINDS.get(tensor.dtype)
    if kind is None:
        raise ServingError("UNIMPLEMENTED", f"output {alias} has data type {tensor.dtype}, which no answer can carry")
    values = tensor.strings() if tensor.dtype == _STRING else np.frombuffer(tensor.content(), kind.memory)
    tensors.fill(proto, kind, tensor.shape, values, content)
