"""A dataset of row records as a stream, encoded as its transform does."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.cs3.stream import Data, Lists, Stream
from runs.evaluate import TRUTH
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.errors import InputError
from transforms.features import LABEL, SPLITS, TIMESTAMP, FeatureSet, ModelInput, Shape
from transforms.input import parsed, serialized
from transforms.integrity import check_values, checked
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.splits import SPLIT_ENDS
from transforms.stream import check_order
from transforms.vocabularies import in_vocabulary_ids, table_sizes

_READ_AT_ONCE = 4096
IDS = ("user_id", "item_id")
_BESIDE = (LABEL, TIMESTAMP, TRUTH, "request_id", "user_id")


def dataset_data(data_dir: Path, rows: int | None) -> Data:
    """Learns the transform of a dataset from its train split and applies it to its rows as they come.

    Args:
      data_dir: a dataset of rows with all three splits.
      rows: at most so many are read, from the start of each split, in its share of the whole; None: all.

    Raises:
      InputError: it is none, is damaged, holds a value that its column cannot have,
        lacks rows or a split, or is not in the order of time.
    """
    dataset = load_dataset(data_dir)
    features = dataset.feature_set
    for split in SPLITS:
        shard_paths(data_dir, dataset, "row", split)
    dataset, _ = checked(data_dir, dataset, "row", SPLITS)
    check_values(data_dir, dataset, "row", SPLITS)
    for split in SPLITS:
        check_order(f"--data {data_dir}", dataset.records["row"][split])
    inputs = features.model_inputs("row")
    _check_ids(data_dir, inputs)
    ends = [0, *(round((rows or 0) * share) for share in SPLIT_ENDS)]
    with tempfile.TemporaryDirectory() as work:
        transform_dataset(data_dir, dataset, work, features, "row", splits=("train",))
        transform = load_transform(work)
        layer = transform.transform_features_layer()
        names = tuple(column.name for column in features.raw_inputs())
        encode = tf.function(lambda raw: layer({name: raw[name] for name in names}), reduce_retracing=True)
        splits = {}
        for split, start, end in zip(SPLITS, ends, ends[1:]):
            files = [str(file) for file in shard_paths(data_dir, dataset, "row", split)]
            blocks = _blocks(files, features, inputs, encode, None if rows is None else max(1, end - start))
            splits[split] = _joined(blocks, inputs)
        sizes = table_sizes(features, transform)
    about = {"source": dataset.source, "origin": dataset.origin, "dataset_sha256": dataset.sha256}
    return Data(inputs, sizes, in_vocabulary_ids(features, sizes), splits, about)


def _check_ids(data_dir: Path, inputs: tuple[ModelInput, ...]) -> None:
    ids = [item.name for item in inputs if item.vocabulary is not None]
    if missing := [name for name in IDS if name not in ids]:
        raise InputError(
            f"--data {data_dir}",
            f"no id {' and no id '.join(missing)} among the features that models see",
            f"{' and '.join(IDS)}, by which vectors are kept",
            "import it with ids, or take another source",
        )


def _blocks(
    files: list[str], features: FeatureSet, inputs: tuple[ModelInput, ...], encode: Any, limit: int | None
) -> list[Mapping[str, Any]]:
    blocks: list[Mapping[str, Any]] = []
    left = limit
    for raw in parsed(serialized(files, _READ_AT_ONCE), parse_spec(features, "row")):
        take = slice(0, left)
        found = encode(raw)
        block = {f"raw {name}": raw[name].numpy()[take] for name in _BESIDE if name in raw}
        blocks.append(block | {item.name: found[item.name][take] for item in inputs})
        if left is not None:
            left -= len(block[f"raw {LABEL}"])
            if left <= 0:
                break
    return blocks


def _joined(blocks: Sequence[Mapping[str, Any]], inputs: tuple[ModelInput, ...]) -> Stream:
    own = {
        name: np.concatenate([block[f"raw {name}"] for block in blocks])
        for name in _BESIDE
        if f"raw {name}" in blocks[0]
    }
    order = np.argsort(own[TIMESTAMP], kind="stable")
    features: dict[str, np.ndarray] = {}
    lists: dict[str, Lists] = {}
    for item in inputs:
        values = tf.concat([block[item.name] for block in blocks], axis=0)
        if item.shape is Shape.RAGGED:
            starts, lengths = values.row_starts().numpy(), values.row_lengths().numpy()
            lists[item.name] = Lists(values.values.numpy(), starts[order], lengths[order])
        else:
            features[item.name] = values.numpy()[order]
    truth = own.get(TRUTH)
    return Stream(
        features=features,
        lists=lists,
        label=own[LABEL].astype(np.float32)[order],
        timestamp=own[TIMESTAMP][order],
        group=groups(own["request_id"], own["user_id"])[order],
        truth=None if truth is None else truth[order],
    )


def groups(request: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Index of each row's request, or of its user where most requests have one row alone."""
    names, index = np.unique(request, return_inverse=True)
    if 2 * len(names) > len(request):
        _, index = np.unique(user, return_inverse=True)
    return np.asarray(index, np.int64)
