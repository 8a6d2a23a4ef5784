"""Warm-up requests that travel with a model: TF Serving runs them before a version is AVAILABLE."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.buckets import Buckets
from serving.catalogue import user_columns
from serving.requests import request_inputs
from serving.retrieval_signatures import EXCLUDE, RETRIEVE, K
from serving.signatures import DEFAULT, PLAIN, request_columns
from transforms.features import ITEM_ID, FeatureSet, RecordKind, Shape
from transforms.schema import tf_dtype

WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")
WARMUP_SIZES = (1, 8, 64)
"""Batch sizes of the logged records, as far as there are examples."""
SET_WARMUP_SIZES = (1, 8)
"""The same with buckets: whole sets are larger than rows, and their sizes have records of their own."""

_REAL: dict[str, Any] = {"string": b"0", "int64": 1, "float": 0.0}
"""A value that is no missing marker: a candidate, and an element of a history."""


def write_warmup(
    model_dir: str | os.PathLike[str],
    name: str,
    examples: Sequence[bytes],
    feature_set: FeatureSet,
    record: RecordKind,
    buckets: Buckets | None = None,
    k: int | None = None,
) -> list[int]:
    """Writes warm-up requests: logged records, and before them one of each size that XLA compiles.

    Args:
      k: items to retrieve for their users; None where the model retrieves none.

    Returns:
      The batch sizes of the logged records written.
    """
    wanted = WARMUP_SIZES if buckets is None else SET_WARMUP_SIZES
    sizes = [size for size in wanted if size <= len(examples)]
    logged = [request_inputs(examples[:size], feature_set, record) for size in sizes]
    requests = [(DEFAULT, {key: tf.make_tensor_proto(values) for key, values in inputs.items()}) for inputs in logged]
    if buckets is not None:
        requests = [*_of_each_size(feature_set, record, buckets), *requests, *((PLAIN, one) for _, one in requests)]
    if k is not None:
        requests += [(RETRIEVE, _retrieving(inputs, feature_set, k)) for inputs in logged]
    path = Path(model_dir) / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_log(name, signature, inputs))
    return sizes


def _retrieving(inputs: Mapping[str, Any], feature_set: FeatureSet, k: int) -> dict[str, Any]:
    # With what has defaults, too: TensorFlow Serving fills them in from 2.16.1 on.
    sent = {column.name: inputs[column.name] for column in user_columns(feature_set)}
    nothing = tf.zeros([1, 0], tf_dtype(feature_set.column(ITEM_ID)))
    return {name: tf.make_tensor_proto(v) for name, v in {**sent, K: tf.constant(k), EXCLUDE: nothing}.items()}


def _of_each_size(
    feature_set: FeatureSet, record: RecordKind, buckets: Buckets
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Requests that hold one value a tensor, which its reader repeats: a few bytes whatever the size."""
    for candidates, history in buckets.sizes():
        shapes = {Shape.SCALAR: [1], Shape.RAGGED: [1, history], Shape.CANDIDATES: [1, candidates]}
        yield (
            DEFAULT,
            {
                column.name: _repeated(_REAL[column.dtype], tf_dtype(column), shapes[column.shape(record)])
                for column in request_columns(feature_set, record)
            },
        )


def _repeated(value: Any, dtype: tf.DType, shape: Sequence[int]) -> Any:
    proto = tf.make_tensor_proto([value], dtype)
    proto.tensor_shape.Clear()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _log(name: str, signature: str, inputs: Mapping[str, Any]) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, proto in inputs.items():
        request.inputs[key].CopyFrom(proto)
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    serialized: bytes = log.SerializeToString()
    return serialized
