"""Classify, Regress and MultiInference on one loaded SavedModel: requests of examples, which a warm-up may hold."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from serving.protocol import DATA_TYPES, ServingError
from serving.server.c_api import Tensor
from serving.server.predict import DEFAULT_SIGNATURE, Servable
from serving.server.tensor_limits import type_name

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


def _run(servable: Servable, given: Any, tasks: Sequence[tuple[str, Any]]) -> None:
    signatures = [(method, _signature(servable, spec)) for method, spec in tasks]
    feeds, fetches = [], []
    for method, signature in signatures:
        outputs, _ = _METHODS[method]
        feeds.append(signature.inputs[_INPUTS].name)
        fetches.append(outputs(signature))
    examples = _examples(given)
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


def _examples(given: Any) -> list[bytes]:
    """Serialized examples; a context stands before each of them, and protobuf merges the two."""
    kind = given.WhichOneof("kind")
    chosen: Any = getattr(given, kind) if kind else None
    examples: Iterable[Any] = chosen.examples if kind else ()
    context = chosen.context.SerializeToString() if kind == "example_list_with_context" else b""
    serialized = [context + example.SerializeToString() for example in examples]
    if not serialized:
        raise _invalid("Input is empty.")
    return serialized


def _invalid(message: str) -> ServingError:
    return ServingError("INVALID_ARGUMENT", message)
