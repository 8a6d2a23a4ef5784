"""Predict, Classify, Regress and MultiInference on one loaded SavedModel, checked and answered as TF Serving does."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving import tensors
from serving.protocol import DATA_TYPES, ServingError, TensorProto
from serving.server.limits import MOST_REPEATED_BYTES, is_type, repeated_bytes, type_name
from serving.server.session import Session, Tensor
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
    ) -> float:
        """Answers a PredictRequest.

        Args:
          request: its model and version have been resolved already; only the signature's name is read.
          response: filled with the outputs and the signature's name.
          timeout_s: what is left until the deadline; None means no deadline.
          content: outputs as `tensor_content` instead of repeated fields.
          most_repeated_bytes: memory of the inputs that hold fewer values than elements.

        Returns:
          The seconds that the run in TensorFlow took.

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
        start = time.perf_counter()
        results = self._session.run(inputs, list(outputs.values()), timeout_s)
        seconds = time.perf_counter() - start
        response.model_spec.signature_name = name
        for alias, tensor in zip(outputs, results, strict=True):
            _answer(response.outputs[alias], alias, tensor, content)
        return seconds

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


def _outputs(signature: Any, aliases: Iterable[str]) -> dict[str, str]:
    """Returns tensor names by alias; all if no aliases are given."""
    outputs: dict[str, str] = {}
    for alias in aliases:
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


_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_Tensors = dict[str, Tensor]


def classify(servable: Servable, request: Any) -> None:
    """Runs a ClassificationRequest and looks at its answer, as TensorFlow Serving does.

    Raises:
      ServingError: with TensorFlow Serving's code and message.
    """
    _run(servable, request.input, [(CLASSIFY, request.model_spec)])


def regress(servable: Servable, request: Any) -> None:
    """The same for a RegressionRequest."""
    _run(servable, request.input, [(REGRESS, request.model_spec)])


def multi_inference(servable: Servable, request: Any) -> None:
    """The same for a MultiInferenceRequest, whose tasks share one run."""
    specs = [task.model_spec for task in request.tasks]
    if not all(spec.name for spec in specs):
        raise _invalid("Found ModelSpec with an empty model name.")
    if len({spec.name for spec in specs}) > 1:
        raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    names = [_signature_name(spec) for spec in specs]
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise _invalid(f"Duplicate evaluation of signature: {twice}")
    for task in request.tasks:
        if task.method_name not in _METHODS:
            raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
    _run(servable, request.input, [(task.method_name, task.model_spec) for task in request.tasks])


def _run(servable: Servable, message: Any, tasks: Sequence[tuple[str, Any]]) -> None:
    signatures = [(method, _signature(servable, spec)) for method, spec in tasks]
    feeds, fetches = [], []
    for method, signature in signatures:
        outputs, _ = _METHODS[method]
        feeds.append(signature.inputs[_INPUTS].name)
        fetches.append(outputs(signature))
    examples = _examples(message)
    names = sorted({name for fetched in fetches for name in fetched.values()})
    answers = dict(zip(names, servable.run_strings(examples, sorted(set(feeds)), names), strict=True))
    for (method, _), fetched in zip(signatures, fetches, strict=True):
        _, check = _METHODS[method]
        check({alias: answers[name] for alias, name in fetched.items()}, len(examples))


def _signature_name(spec: Any) -> str:
    return spec.signature_name or DEFAULT_SIGNATURE


def _signature(servable: Servable, spec: Any) -> Any:
    name = _signature_name(spec)
    signature = servable.signatures.get(name)
    if signature is None:
        raise _invalid(f"No signature was found with the name: {name}")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if _INPUTS not in signature.inputs:
        raise _invalid(f"No inputs named {_INPUTS!r} found in SignatureDef {name!r}")
    return signature


def _classified(signature: Any) -> dict[str, str]:
    if len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    named = {alias: info.name for alias, info in signature.outputs.items() if alias in (_CLASSES, _SCORES)}
    if not named:
        raise _invalid(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}"'
        )
    return named


def _regressed(signature: Any) -> dict[str, str]:
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if _OUTPUTS not in signature.outputs:
        raise _invalid("No regression outputs found in SignatureDef")
    return {_OUTPUTS: signature.outputs[_OUTPUTS].name}


def _check_classes(answers: _Tensors, count: int) -> None:
    for alias, tensor in answers.items():
        expected = "DT_STRING" if alias == _CLASSES else "DT_FLOAT"
        if len(tensor.shape) != 2:
            raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(tensor.shape)}")
        _check_type(tensor, f"{alias} Tensor", expected)
        if tensor.shape[0] != count:
            raise _invalid(f"Expected {alias} output batch size of {count}. Got: {tensor.shape[0]}")
    if len({tensor.shape[1] for tensor in answers.values()}) > 1:
        raise _invalid("Tensors class and score should match in dim_size(1)")


def _check_regressions(answers: _Tensors, count: int) -> None:
    tensor = answers[_OUTPUTS]
    if len(tensor.shape) != 1 and (len(tensor.shape) != 2 or tensor.shape[1] != 1):
        expected = "[batch_size] or [batch_size, 1]"
        raise _invalid(f"Expected output Tensor shape to be either {expected} but got {list(tensor.shape)}")
    if tensor.shape[0] != count:
        raise _invalid(f"Input batch size did not match output batch size: {count} vs. {tensor.shape[0]}")
    _check_type(tensor, "output Tensor", "DT_FLOAT")


def _check_type(tensor: Tensor, what: str, expected: str) -> None:
    if tensor.dtype != DATA_TYPES[expected]:
        raise _invalid(f"Expected {what} of {expected}. Got: DT_{type_name(tensor.dtype).upper()}")


_METHODS: dict[str, tuple[Callable[[Any], dict[str, str]], Callable[[_Tensors, int], None]]] = {
    CLASSIFY: (_classified, _check_classes),
    REGRESS: (_regressed, _check_regressions),
}


def _examples(message: Any) -> list[bytes]:
    """Serialized examples; a context stands before each of them, and protobuf merges the two."""
    kind = message.WhichOneof("kind")
    chosen: Any = getattr(message, kind) if kind else None
    examples: Iterable[Any] = chosen.examples if kind else ()
    context = chosen.context.SerializeToString() if kind == "example_list_with_context" else b""
    serialized = [context + example.SerializeToString() for example in examples]
    if not serialized:
        raise _invalid("Input is empty.")
    return serialized


def _invalid(message: str) -> ServingError:
    return ServingError("INVALID_ARGUMENT", message)
