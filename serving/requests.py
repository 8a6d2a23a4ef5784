"""Raw records as the inputs of a Predict request."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving.signatures import request_columns
from transforms.features import MISSING_INT, MISSING_STRING, Column, FeatureSet, RecordKind
from transforms.schema import parse_spec

_PADDING: dict[str, Any] = {"string": MISSING_STRING, "int64": MISSING_INT, "float": float("nan")}


def request_inputs(
    examples: Sequence[bytes], feature_set: FeatureSet, record: RecordKind, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The inputs of `serving_default` for some records, ready for the client.

    Args:
      examples: serialized raw tf.Examples.
      feature_set, record: as the model was trained, or as the dataset says.
      names: the inputs that the server asks for; None: those that the FeatureSet's features read.

    Returns:
      By column: [B] scalars, [B, M] candidates, [B, N] histories padded with the missing marker.
    """
    if names is None:
        columns = request_columns(feature_set, record)
    else:
        columns = tuple(column for column in feature_set.columns_of(record) if column.name in names)
    parsed = tf.io.parse_example(list(examples), parse_spec(feature_set, record, tuple(c.name for c in columns)))
    return {column.name: _array(column, parsed[column.name]) for column in columns}


def padding_of(column: Column) -> bytes | int | float:
    """The marker that stands for a missing value or for padding in a column."""
    marker: bytes | int | float = _PADDING[column.dtype]
    return marker


def _array(column: Column, values: Any) -> np.ndarray:
    if isinstance(values, tf.RaggedTensor):
        values = values.to_tensor(default_value=padding_of(column))
    array: np.ndarray = values.numpy()
    return array
