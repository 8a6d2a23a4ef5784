"""Warm-up requests that travel with a model: TF Serving runs them before a version is AVAILABLE."""

import os
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.requests import request_inputs
from serving.signatures import DEFAULT
from transforms.features import FeatureSet, RecordKind

WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")
WARMUP_SIZES = (1, 8, 64)
"""Batch sizes of the records, as far as there are examples."""


def write_warmup(
    model_dir: str | os.PathLike[str],
    name: str,
    examples: Sequence[bytes],
    feature_set: FeatureSet,
    record: RecordKind,
) -> list[int]:
    """Writes logged records as warm-up requests of `serving_default`.

    Returns:
      The batch sizes written.
    """
    sizes = [size for size in WARMUP_SIZES if size <= len(examples)]
    path = Path(model_dir) / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sizes:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = DEFAULT
            for key, values in request_inputs(examples[:size], feature_set, record).items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    return sizes
