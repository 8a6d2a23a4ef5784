"""Reading speed: parsed list-wise examples per second, compared with slower ways."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from runs.provenance import machine
from transforms.batches import Batch, Ragged
from transforms.features import Column, Feature, FeatureSet
from transforms.input import parsed, serialized
from transforms.schema import parse_spec
from transforms.writing import write_dataset

CANDIDATES = 10
_BATCH = 1024
_SHARDS = 4


def small_request_features() -> FeatureSet:
    """Returns the features of a small list-wise example, about 300 bytes: user, history, ten candidates."""
    columns = (
        Column(name="history_item_id", dtype="int64", entity="user", variable_length=True),
        Column(name="item", dtype="int64", entity="item"),
        Column(name="score", dtype="float", entity="item"),
    )
    return FeatureSet(
        columns=columns,
        features=(Feature(name="item", encoding="id"),),
        list_size=CANDIDATES,
    )


def _batches(examples: int, seed: int) -> list[Batch]:
    rng, n = np.random.default_rng(seed), examples // _SHARDS
    batches = []
    for shard in range(_SHARDS):
        lengths = rng.integers(0, 10, n)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.char.mod("%d", np.arange(n) + shard * n).astype("S")
        ones = np.ones((n, CANDIDATES), np.int64)
        columns: dict[str, Any] = {
            "request_id": ids,
            "user_id": ids,
            "item_id": np.full((n, CANDIDATES), b""),
            "timestamp": np.arange(n),
            "label": rng.integers(0, 2, (n, CANDIDATES)).astype(np.float32),
            "candidate": ones,
            "exposed": ones,
            "history_item_id": Ragged(rng.integers(1, 100_000, offsets[-1]), offsets),
            "item": rng.integers(1, 100_000, (n, CANDIDATES)),
            "score": rng.random((n, CANDIDATES), np.float32),
        }
        batches.append(Batch("request", "train", columns))
    return batches


def bench_input(examples: int = 400_000, rounds: int = 3, seed: int = 1) -> dict[str, Any]:
    """Measures parsed examples per second of `transforms.input`, uncompressed and gzip, and of parsing one by one.

    Args:
      examples: list-wise examples in the data.
      rounds: number of times that each way is timed; the result is the median, all are kept.
      seed: of the data.
    """
    feature_set = small_request_features()
    only = ("user_id", "history_item_id", "item", "score", "label", "exposed")
    spec = parse_spec(feature_set, "request", only)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(_batches(examples, seed), Path(folder) / "data", "bench", feature_set, {"seed": seed})
        files = sorted(str(path) for path in Path(folder).glob("data/request/train/*.tfrecord"))
        zipped = [_gzip(path) for path in files]
        size = sum(Path(path).stat().st_size for path in files) / examples
        one_by_one = tf.data.TFRecordDataset(files).map(lambda record: tf.io.parse_single_example(record, spec))
        ways: dict[str, Callable[[], tf.data.Dataset]] = {
            "batch_then_parse": lambda: parsed(serialized(files, _BATCH), spec),
            "batch_then_parse_gzip": lambda: parsed(serialized(zipped, _BATCH), spec),
            "parse_then_batch": lambda: one_by_one.take(examples // 8).ragged_batch(_BATCH),
        }
        seen = {name: examples // 8 if name == "parse_then_batch" else examples for name in ways}
        rates = {name: [seen[name] / _seconds(make()) for _ in range(rounds)] for name, make in ways.items()}
    return {
        "examples_per_s": statistics.median(rates["batch_then_parse"]),
        "median": {name: statistics.median(values) for name, values in rates.items()},
        "rounds": rates,
        "bytes_per_example": size,
        "examples": examples,
        "machine": machine(),
    }


def _seconds(dataset: tf.data.Dataset) -> float:
    start = time.perf_counter()
    for _ in dataset:
        pass
    return time.perf_counter() - start


def _gzip(path: str) -> str:
    import gzip
    import shutil

    target = f"{path}.gz"
    with open(path, "rb") as source, gzip.open(target, "wb", compresslevel=6) as out:
        shutil.copyfileobj(source, out)
    return target
