"""Raw records as the inputs of a Predict request."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving.export.signatures import request_columns
from transforms.features import (
    CANDIDATE,
    Column,
    FeatureSet,
    RecordKind,
    with_lengths,
)
from transforms.schema import parse_spec


def request_inputs(
    examples: Sequence[bytes], feature_set: FeatureSet, record: RecordKind, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Returns the inputs of `serving_default` for records, ready for the client.

    Args:
      examples: serialized raw tf.Examples.
      feature_set, record: as the model was trained, or as the dataset says.
      names: the inputs to return; None: those that the FeatureSet's features read.

    Returns:
      By column: [B] scalars, [B, M] candidates, [B, N] lists padded with the missing marker, and [B] their lengths,
      of candidates M; columns with `width` have one dimension more, W.
    """
    if names is None:
        columns = request_columns(feature_set, record)
        names = {column.name for column in with_lengths(columns)}
    else:
        names = set(names)
        columns = tuple(
            column for column in feature_set.columns_of(record) if names & {c.name for c in with_lengths([column])}
        )
    parsed = tf.io.parse_example(list(examples), parse_spec(feature_set, record, tuple(c.name for c in columns)))
    inputs = {name: value.numpy() for name, value in as_request(columns, parsed).items()}
    return {name: value for name, value in inputs.items() if name in names}


def as_request(columns: Iterable[Column], values: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns columns of records as the tensors of a request: lists padded, with their lengths.

    Args:
      columns: the columns to convert.
      values: by column, lists as `tf.RaggedTensor`.
    """
    tensors: dict[str, tf.Tensor] = {}
    for column in columns:
        value = values[column.name]
        if isinstance(value, tf.RaggedTensor):
            tensors[column.lengths.name] = tf.cast(value.row_lengths(), tf.int64)
            value = value.to_tensor(default_value=column.marker)
        elif column.has_lengths:
            tensors[column.lengths.name] = tf.fill(tf.shape(value)[:1], tf.shape(value, tf.int64)[1])
        tensors[column.name] = value
    return tensors


def without_padding(inputs: Mapping[str, np.ndarray], feature_set: FeatureSet) -> dict[str, np.ndarray]:
    """Returns request inputs cut after the last real candidate of any record: a server takes any number of them.

    Args:
      inputs: of `request_inputs`, of request records.
      feature_set: whose columns they are.
    """
    real = np.flatnonzero((inputs[CANDIDATE] == 1).any(axis=0))
    count = int(real[-1]) + 1 if len(real) else 0
    shapes = {name: feature_set.column(name).shape("request") for name in inputs}
    cut = {name: value[:, :count] if shapes[name].per_candidate else value for name, value in inputs.items()}
    counts = feature_set.column(CANDIDATE).lengths.name
    return cut | ({counts: np.minimum(cut[counts], count)} if counts in cut else {})
