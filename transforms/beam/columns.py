"""Preprocessing of columns in memory, for models that are trained outside of a run: in a notebook, say."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from transforms.batches import Batch, Ragged, encode, padded
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.features import CANDIDATE, EXPOSED, WEIGHT, Column, FeatureSet, ModelInput, RecordKind, Shape
from transforms.input import labeled
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.vocabularies import in_vocabulary_ids, table_sizes
from transforms.writing import write_dataset

_WARMUP_EXAMPLES = 32
_MISSING: Mapping[str, Any] = {"string": b"", "int64": 0, "float": 0.0}


class Preprocessing:
    """Learns vocabularies and statistics from columns, and turns columns into the features of a model.

    The transform is TensorFlow Transform's, the same as that of a run, so an exported model takes raw columns.

    Columns are arrays or lists by name: `[n]`; for variable-length columns n lists; for the item columns of requests
    `[n, M]`; for columns with `width` a list of at most W values in each place. Keys that are left out (`request_id`,
    `user_id`, `item_id`, `timestamp`, `label`) are missing or 0; the masks of requests, `candidate` and `exposed`, and
    sample weights, `weight`, are 1.

    Args:
      feature_set: declares the columns and the features; of requests with `list_size` M.
      columns: the training data.
      record: `row` or `request`.

    Attributes:
      inputs: the inputs of a model.
      table_sizes: number of ids of each vocabulary.
      in_vocabulary_ids: number of ids of each vocabulary without the out-of-vocabulary buckets.
      transform: the learned transform.
      files: the training data as TFRecord files of raw records.

    Raises:
      ValueError: an unknown column, or one of the wrong length, shape or type.
      InputError: a value that its column does not allow.
    """

    def __init__(self, feature_set: FeatureSet, columns: Mapping[str, Any], record: RecordKind = "row"):
        self.feature_set, self.record = feature_set, record
        # The transform is read from its files as long as it is used.
        self._folder = tempfile.TemporaryDirectory(prefix="consort_")
        data, transformed = (Path(self._folder.name) / name for name in ("data", "transformed"))
        write_dataset([self._batch(columns)], data, "columns", feature_set, {})
        dataset = load_dataset(data)
        transform_dataset(data, dataset, transformed, feature_set, record, splits=())
        self.transform: tft.TFTransformOutput = load_transform(transformed)
        self.files = shard_paths(data, dataset, record, "train")
        self.inputs: tuple[ModelInput, ...] = feature_set.model_inputs(record)
        self.table_sizes = table_sizes(feature_set, self.transform)
        self.in_vocabulary_ids = in_vocabulary_ids(feature_set, self.table_sizes)
        self._examples = encode(self._batch({name: values[:_WARMUP_EXAMPLES] for name, values in columns.items()}),
                                feature_set)  # fmt: skip

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the features of a model, with `label` and, for requests, the masks `candidate` and `exposed`."""
        serialized = encode(self._batch(columns), self.feature_set)
        raw = tf.io.parse_example(serialized, parse_spec(self.feature_set, self.record))
        return dict(self._layer(raw))

    def dataset(self, columns: Mapping[str, Any], batch_size: int) -> tf.data.Dataset:
        """Returns batches for `fit`: (features, label), for requests and with sample weights (features, label, weight).

        The weight of a candidate is 1 if it was exposed, else 0, times its sample weight if there are any.
        """
        return tf.data.Dataset.from_tensor_slices(labeled(self(columns), self.record)).batch(batch_size)

    def export_arguments(self) -> dict[str, Any]:
        """Returns the arguments of `export_model` that describe the preprocessing."""
        return {
            "transform": self.transform,
            "feature_set": self.feature_set,
            "record": self.record,
            "run": {"source": "columns"},
            "warmup_examples": self._examples,
        }

    @cached_property
    def _layer(self) -> Any:
        return self.transform.transform_features_layer()

    def _batch(self, columns: Mapping[str, Any]) -> Batch:
        declared = self.feature_set.columns_of(self.record)
        length = len(next(iter(columns.values())))
        present = {column.name: columns[column.name] for column in declared if column.name in columns}
        unknown = {name: values for name, values in columns.items() if name not in present}
        values = {column.name: self._values(column, present.get(column.name), length) for column in declared}
        return Batch(self.record, "train", values | unknown)

    def _values(self, column: Column, values: Any, length: int) -> Any:
        shape = column.shape(self.record)
        if values is None:
            value = 1 if column.name in (CANDIDATE, EXPOSED, WEIGHT) else _MISSING[column.dtype]
            return np.full(shape.sizes(length, self.feature_set.list_size or 0, None, column.width), value)
        if shape is Shape.RAGGED:
            return _ragged(values)
        return _array(values) if column.width is None else _values_of(values, column, shape)


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array


def _values_of(values: Any, column: Column, shape: Shape) -> np.ndarray:
    """Returns the values of a column with `width`, `[n, W]` or `[n, M, W]`; lists may be shorter than W."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return _array(values)
    if shape is Shape.VALUES:
        return padded(_ragged(values), column)
    candidates = padded(_ragged([one for lists in values for one in lists]), column)
    return candidates.reshape(len(values), -1, candidates.shape[1])


def _ragged(lists: Sequence[Sequence[Any]]) -> Ragged:
    lengths = [len(values) for values in lists]
    elements = [value for values in lists for value in values]
    return Ragged(_array(elements) if elements else np.array([], object), np.cumsum([0, *lengths]))
