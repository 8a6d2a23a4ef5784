"""Reads what an import wrote, by TensorFlow's own parser."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.features import SPLITS, RecordKind
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec


def records_of(directory: Path, record: RecordKind, split: str) -> list[dict[str, Any]]:
    """Every record of a split, in order: scalars as Python values, lists as arrays."""
    dataset = load_dataset(directory)
    spec = parse_spec(dataset.feature_set, record)
    found = []
    for path in shard_paths(directory, dataset, record, split):  # type: ignore[arg-type]
        for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
            parsed = tf.io.parse_single_example(serialized, spec)
            found.append({name: _plain(value.numpy()) for name, value in parsed.items()})
    return found


def all_records(directory: Path, record: RecordKind) -> dict[bytes, list[dict[str, Any]]]:
    """Records of all splits by request id, in order."""
    dataset, found = load_dataset(directory), {}
    for split in SPLITS:
        if split in dataset.records.get(record, {}):
            for values in records_of(directory, record, split):
                found.setdefault(values["request_id"], []).append(values)
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
