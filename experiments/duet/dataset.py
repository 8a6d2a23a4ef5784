"""A dataset of request records as arrays, encoded as its transform does."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.duet.requests import Data, Requests
from runs.evaluate import LOGGED_SCORE, TRUTH
from serving.export.signatures import request_columns
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, STAGE, FeatureSet, ModelInput, Shape
from transforms.input import parsed, serialized
from transforms.integrity import check_values, checked
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.splits import SPLIT_ENDS
from transforms.vocabularies import table_sizes

_READ_AT_ONCE = 512
_BESIDE = (CANDIDATE, EXPOSED, LABEL, STAGE, TRUTH, LOGGED_SCORE, "user_id")
Columns = dict[str, Any]


def dataset_data(data_dir: Path, requests: int | None) -> Data:
    """Learns the transform of a dataset from its train split and applies it to all requests.

    The truth and the logging policy's score, which no model sees and no transform passes on, come from the raw
    records.

    Args:
      data_dir: a dataset of requests with all three splits.
      requests: at most so many are read, from the start of each split, in its share of the whole; None: all.

    Raises:
      InputError: it is none, is damaged, holds a value that its column cannot have,
        lacks requests or a split, or has lists of several lengths.
    """
    dataset = load_dataset(data_dir)
    features = dataset.feature_set
    for split in SPLITS:
        shard_paths(data_dir, dataset, "request", split)
    dataset, _ = checked(data_dir, dataset, "request", SPLITS)
    check_values(data_dir, dataset, "request", SPLITS)
    inputs = features.model_inputs("request")
    columns = tuple(column.name for column in request_columns(features, "request"))
    limits = [None] * len(SPLITS) if requests is None else _limits(requests)
    users: dict[bytes, int] = {}
    with tempfile.TemporaryDirectory() as work:
        transform_dataset(data_dir, dataset, work, features, "request", splits=("train",))
        transform = load_transform(work)
        layer = transform.transform_features_layer()
        encode = tf.function(lambda raw: layer({name: raw[name] for name in columns}), reduce_retracing=True)
        splits = {}
        for split, limit in zip(SPLITS, limits, strict=True):
            files = shard_paths(data_dir, dataset, "request", split)
            splits[split] = _requests([str(file) for file in files], features, inputs, encode, limit, users)
        sizes = table_sizes(features, transform)
    about = {"source": dataset.source, "origin": dataset.origin, "dataset_sha256": dataset.sha256}
    return Data(inputs, sizes, splits, about)


def _limits(requests: int) -> list[int]:
    ends = [0, *(round(requests * share) for share in SPLIT_ENDS)]
    return [max(1, end - start) for start, end in zip(ends, ends[1:])]


def _requests(
    files: list[str],
    features: FeatureSet,
    inputs: tuple[ModelInput, ...],
    encode: Any,
    limit: int | None,
    users: dict[bytes, int],
) -> Requests:
    blocks: list[Mapping[str, Any]] = []
    left = limit
    spec = parse_spec(features, "request")
    for raw in parsed(serialized(files, _READ_AT_ONCE), spec):
        seen = {name: raw[name] for name in _BESIDE if name in raw}
        found = encode(raw)
        take = slice(0, left)
        block = {f"raw {name}": value.numpy()[take] for name, value in seen.items()}
        block |= {item.name: found[item.name][take] for item in inputs}
        blocks.append(block)
        if left is not None:
            left -= len(block[f"raw {LABEL}"])
            if left <= 0:
                break
    return _joined(blocks, inputs, users)


def _joined(blocks: list[Mapping[str, Any]], inputs: tuple[ModelInput, ...], users: dict[bytes, int]) -> Requests:
    own = {
        name: np.concatenate([block[f"raw {name}"] for block in blocks])
        for name in _BESIDE
        if f"raw {name}" in blocks[0]
    }
    features: dict[str, np.ndarray] = {}
    lengths: dict[str, np.ndarray] = {}
    for item in inputs:
        values = tf.concat([block[item.name] for block in blocks], axis=0)
        if item.shape is Shape.RAGGED:
            lengths[item.name] = values.row_lengths().numpy()
            values = values.to_tensor()
        features[item.name] = values.numpy()
    candidate = own[CANDIDATE] == 1
    return Requests(
        features=features,
        history_length=_history_length(lengths, len(candidate)),
        candidate=candidate,
        exposed=(own[EXPOSED] == 1) & candidate,
        label=np.where(own[EXPOSED] == 1, own[LABEL], 0).astype(np.float32),
        user=np.array(
            [users.setdefault(user, len(users)) if user else -1 for user in own["user_id"].tolist()], np.int64
        ),
        stage=own.get(STAGE),
        truth=own.get(TRUTH),
        logging_score=own.get(LOGGED_SCORE),
    )


def _history_length(lengths: Mapping[str, np.ndarray], requests: int) -> np.ndarray:
    first = next(iter(lengths.values()), np.zeros(requests, np.int64))
    for name, own in lengths.items():
        if not np.array_equal(own, first):
            received = f"{name} is not as long as {next(iter(lengths))} in every request"
            raise InputError("the dataset", received, "lists of one length, a history", "leave out one of them")
    return first
