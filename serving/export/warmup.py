"""Warm-up requests that travel with a model: TF Serving runs them before a version is AVAILABLE."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.batching import WARMUP_ROWS
from serving.contract import WARMUP, XLA_WARMUP
from serving.export.requests import request_inputs
from serving.export.set_scoring import Buckets
from serving.export.signatures import COMPILED, DEFAULT, request_columns
from serving.retrieval.catalogue import user_columns
from serving.retrieval.signatures import EXCLUDE, EXCLUDE_COUNT, RETRIEVE, K
from transforms.features import ITEM_ID, FeatureSet, RecordKind, with_lengths
from transforms.schema import tf_dtype

__all__ = ["SET_WARMUP_SIZES", "WARMUP", "WARMUP_SIZES", "XLA_WARMUP", "write_warmup"]

WARMUP_SIZES = (1, 8, WARMUP_ROWS)
"""Batch sizes of the logged records, as far as there are examples."""
SET_WARMUP_SIZES = (1, 8)
"""The same with buckets: sets are larger than rows, and each bucket has warm-up records besides."""

_REAL: dict[str, Any] = {"string": b"0", "int64": 1, "float": 0.0}
"""A value that is not a missing marker, by type."""

Request = tuple[str, dict[str, Any]]
"""A signature's name, and its inputs."""


def write_warmup(
    model_dir: str | os.PathLike[str],
    name: str,
    examples: Sequence[bytes],
    feature_set: FeatureSet,
    record: RecordKind,
    buckets: Buckets | None = None,
    k: int | None = None,
) -> list[int]:
    """Writes warm-up requests: logged records, and in a second file one for each size that XLA compiles.

    TensorFlow Serving exits if a warm-up request fails, and has XLA off by default: the first file needs none of its
    flags, and no request in it has more than `WARMUP_ROWS` rows.

    Args:
      k: items to retrieve for their users; None where the model retrieves none.

    Returns:
      The batch sizes of the logged records written.
    """
    sizes = [size for size in (WARMUP_SIZES if buckets is None else SET_WARMUP_SIZES) if size <= len(examples)]
    logged = [request_inputs(examples[:size], feature_set, record) for size in sizes]
    protos = [{key: tf.make_tensor_proto(values) for key, values in inputs.items()} for inputs in logged]
    requests = [(DEFAULT, inputs) for inputs in protos]
    if k is not None:
        requests += [(RETRIEVE, _retrieving(inputs, feature_set, k)) for inputs in logged]
    _write(Path(model_dir) / WARMUP, name, requests)
    if buckets is not None:
        compiled = [*_of_each_size(feature_set, record, buckets), *((COMPILED, inputs) for inputs in protos)]
        _write(Path(model_dir) / XLA_WARMUP, name, compiled)
    return sizes


def _write(path: Path, name: str, requests: Iterable[Request]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_log(name, signature, inputs))


def _retrieving(inputs: Mapping[str, Any], feature_set: FeatureSet, k: int) -> dict[str, Any]:
    # With what has defaults, too: TensorFlow Serving fills them in from 2.16.1 on. Each has a value for every user,
    # as a server that joins requests to batches takes nothing else.
    sent = {column.name: inputs[column.name] for column in with_lengths(user_columns(feature_set))}
    users = len(next(iter(sent.values())))
    item = feature_set.column(ITEM_ID)
    nothing = tf.fill([users, 1], tf.constant(item.marker, tf_dtype(item)))
    options = {K: tf.fill([users], tf.constant(k)), EXCLUDE: nothing, EXCLUDE_COUNT: tf.zeros([users], tf.int64)}
    return {name: tf.make_tensor_proto(value) for name, value in {**sent, **options}.items()}


def _of_each_size(feature_set: FeatureSet, record: RecordKind, buckets: Buckets) -> Iterable[Request]:
    """Requests that hold one value a tensor, which its reader repeats: a few bytes whatever the size."""
    columns = request_columns(feature_set, record)
    for candidates, history in buckets.sizes():
        inputs = {}
        for column in columns:
            sizes = column.shape(record).sizes(1, candidates, history, column.width)
            inputs[column.name] = _repeated(_REAL[column.dtype], tf_dtype(column), sizes)
        lengths = {
            one.lengths.name: history if one.variable_length else candidates for one in columns if one.has_lengths
        }
        yield COMPILED, inputs | {name: _repeated(size, tf.int64, [1]) for name, size in lengths.items()}


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
