"""The curated TFDV schema and the parse spec that a FeatureSet stands for."""

from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from transforms.domains import highest, is_limited, lowest, may_be_missing
from transforms.features import MISSING_INT, Column, FeatureSet, RecordKind, Shape

_SCHEMA_TYPES = {"string": schema_pb2.BYTES, "int64": schema_pb2.INT, "float": schema_pb2.FLOAT}
_TF_TYPES = {"string": tf.string, "int64": tf.int64, "float": tf.float32}


def tf_dtype(column: Column) -> tf.DType:
    """TensorFlow type of a column's values."""
    return _TF_TYPES[column.dtype]


def schema_of(feature_set: FeatureSet, record: RecordKind) -> schema_pb2.Schema:
    """Schema for StatisticsGen, ExampleValidator and Transform.

    Every column must be present in every record (missing values are markers inside it); histories are
    ragged, all else has fixed shapes; numbers outside their domain are anomalies.

    Args:
      feature_set: the declaration.
      record: `row` or `request`.
    """
    schema = schema_pb2.Schema(represent_variable_length_as_ragged=True)
    for column in feature_set.columns_of(record):
        feature = schema.feature.add(name=column.name, type=_SCHEMA_TYPES[column.dtype])
        _set_shape(feature, column, record, feature_set.list_size)
        _set_domain(feature, column)
    return schema


def schema_text(feature_set: FeatureSet, record: RecordKind) -> str:
    """The schema as `schema.pbtxt`."""
    return str(text_format.MessageToString(schema_of(feature_set, record)))


def parse_spec(feature_set: FeatureSet, record: RecordKind, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Spec for `tf.io.parse_example` on raw records.

    Args:
      only: names of the columns to parse; None parses all.
    """
    spec: dict[str, Any] = {}
    for column in feature_set.columns_of(record):
        if only is not None and column.name not in only:
            continue
        shape = column.shape(record)
        if shape is Shape.RAGGED:
            spec[column.name] = tf.io.RaggedFeature(tf_dtype(column), row_splits_dtype=tf.int64)
        else:
            dimensions = shape.sizes(None, feature_set.list_size, None, column.width)[1:]
            spec[column.name] = tf.io.FixedLenFeature(dimensions, tf_dtype(column))
    return spec


def _set_shape(feature: schema_pb2.Feature, column: Column, record: RecordKind, list_size: int | None) -> None:
    shape = column.shape(record)
    if shape is Shape.RAGGED:
        feature.value_count.min = 0
        return
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    feature.shape.SetInParent()
    for size in shape.sizes(None, list_size, None, column.width)[1:]:
        feature.shape.dim.add(size=size)


def _set_domain(feature: schema_pb2.Feature, column: Column) -> None:
    if not is_limited(column):
        return
    low, high = lowest(column), highest(column)
    if column.dtype == "float":
        domain = feature.float_domain
        domain.disallow_inf = True
        domain.disallow_nan = not may_be_missing(column)
        if low is not None:
            domain.min = low
        if high is not None:
            domain.max = high
    elif column.dtype == "int64":
        # Two ranges cannot be said: with the marker of a missing value also what lies between it and the bounds passes.
        if low is not None:
            feature.int_domain.min = min(int(low), MISSING_INT) if may_be_missing(column) else int(low)
        if high is not None:
            feature.int_domain.max = max(int(high), MISSING_INT) if may_be_missing(column) else int(high)
