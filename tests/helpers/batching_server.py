"""What a TensorFlow Serving that joins requests to batches does with them, after its source batching_session.cc."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

_FIELDS = {
    "max_batch_size": ("Int64Value", 1),
    "batch_timeout_micros": ("Int64Value", 2),
    "max_enqueued_batches": ("Int64Value", 3),
    "num_batch_threads": ("Int64Value", 4),
    "thread_pool_name": ("StringValue", 5),
    "allowed_batch_sizes": ("", 6),
    "pad_variable_length_inputs": ("", 7),
    "enable_large_batch_splitting": ("BoolValue", 8),
    "max_execution_batch_size": ("Int64Value", 9),
}
"""Of its message BatchingParameters, which no package has."""


def parameters_of(text: str) -> Any:
    """Returns a BatchingParameters message, parsed as the server parses its file."""
    file = descriptor_pb2.FileDescriptorProto(name="batching_parameters.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    for name, (wrapper, number) in _FIELDS.items():
        field = message.field.add(name=name, number=number, label=1)
        if wrapper:
            field.type, field.type_name = 11, f".google.protobuf.{wrapper}"
        elif name == "allowed_batch_sizes":
            field.type, field.label = 3, 3
        else:
            field.type = 8
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    message_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.BatchingParameters"))
    return text_format.Parse(text, message_class())


Inputs = Mapping[str, np.ndarray]


class Refused(Exception):
    """The server's words for a request that it does not batch."""


def rows_of(inputs: Inputs) -> int:
    """Returns the rows of a request, as `ComputeTensorBatchSize` does.

    Raises:
      Refused: a scalar, or inputs with unequal numbers of rows.
    """
    if not all(np.ndim(value) for value in inputs.values()):
        raise Refused("Batching Run() input tensors must have at least one dimension")
    sizes = {len(value) for value in inputs.values()}
    if len(sizes) != 1:
        raise Refused("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def merged(requests: Sequence[Inputs], pad: bool = True) -> dict[str, np.ndarray]:
    """Returns the inputs of a batch, as `MergeInputTensors` and `AddPadding` make them.

    Each tensor is padded in each dimension but the first to the greatest size of the batch, with its own first value.

    Args:
      requests: with every input of the signature, defaults filled in.
      pad: `pad_variable_length_inputs`.

    Raises:
      Refused: shapes differ and are not padded, or an empty tensor would have to be.
    """
    batch = {}
    for name in requests[0]:
        tensors = [np.asarray(request[name]) for request in requests]
        sizes = np.max([tensor.shape for tensor in tensors], axis=0)
        if not pad and any(tensor.shape[1:] != tensors[0].shape[1:] for tensor in tensors):
            raise Refused(f"Tensors with name '{name}' from different tasks have different shapes")
        batch[name] = np.concatenate([_padded(tensor, sizes) for tensor in tensors])
    return batch


def _padded(tensor: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    shape = [tensor.shape[0], *sizes[1:]]
    if list(tensor.shape) == shape or not np.prod(shape):
        return tensor.reshape(shape)
    if not tensor.size:
        raise Refused("Got empty tensor in batch of non-empty tensors.")
    filled = np.full(shape, tensor.flat[0], tensor.dtype)
    filled[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return filled


def answers_of_batch(
    ask: Callable[[Inputs], Mapping[str, np.ndarray]], requests: Sequence[Inputs], pad: bool = True
) -> list[dict[str, np.ndarray]]:
    """Returns the outputs for each request of a batch, cut by rows alone, as `SplitOutputTensors` does."""
    ends = np.cumsum([rows_of(request) for request in requests])
    outputs = ask(merged(requests, pad))
    for name, values in outputs.items():
        if not np.ndim(values) or len(values) != ends[-1]:
            raise Refused(f"Batched output tensor's 0th dimension of {name} does not equal the sum of the inputs'")
    return [
        {name: values[end - rows_of(request) : end] for name, values in outputs.items()}
        for request, end in zip(requests, ends, strict=True)
    ]
