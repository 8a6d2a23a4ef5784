"""Reads what an import wrote, by TensorFlow's own parser."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.features import SPLITS, RecordKind, Split
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec


def records_of(directory: Path, record: RecordKind, split: Split) -> list[dict[str, Any]]:
    """Every record of a split, in order: scalars as Python values, lists as arrays."""
    dataset = load_dataset(directory)
    paths = shard_paths(directory, dataset, record, split)
    serialized = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    parsed = tf.io.parse_example(serialized, parse_spec(dataset.feature_set, record))
    columns = {name: _by_record(values) for name, values in parsed.items()}
    return [{name: values[index] for name, values in columns.items()} for index in range(len(serialized))]


def all_records(directory: Path, record: RecordKind) -> dict[bytes, list[dict[str, Any]]]:
    """Records of all splits by request id, in order."""
    dataset = load_dataset(directory)
    found: dict[bytes, list[dict[str, Any]]] = {}
    for split in SPLITS:
        if split in dataset.records.get(record, {}):
            for values in records_of(directory, record, split):
                found.setdefault(values["request_id"], []).append(values)
    return found


def _by_record(values: Any) -> list[Any]:
    if isinstance(values, tf.RaggedTensor):
        return np.split(values.flat_values.numpy(), values.row_splits.numpy()[1:-1])
    array = values.numpy()
    return array.tolist() if array.ndim == 1 else list(array)
