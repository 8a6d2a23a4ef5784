"""A tiny dataset with every encoding and every shape, whose values are known by heart."""

from pathlib import Path

import numpy as np

from transforms.batches import Batch, Ragged
from transforms.features import Column, Encoding, Feature, FeatureSet, Split, Vocabulary
from transforms.records import Dataset, load_dataset
from transforms.writing import write_dataset

DAY = 86400
MONDAY = 4 * DAY
"""5 January 1970, 00:00 UTC, a Monday."""


def toy_features(list_size: int | None = None) -> FeatureSet:
    return FeatureSet(
        columns=(
            Column(name="history", dtype="string", entity="user", variable_length=True, max_length=2),
            Column(name="price", dtype="float", entity="item", min_value=0.0, max_value=1000.0),
            Column(name="count", dtype="float", entity="item"),
            Column(name="truth", dtype="float", entity="item", model_input=False),
        ),
        features=(
            Feature(name="user_id", encoding=Encoding.ID),
            Feature(name="hour", column="timestamp", encoding=Encoding.HOUR_OF_DAY),
            Feature(name="weekday", column="timestamp", encoding=Encoding.DAY_OF_WEEK),
            Feature(name="item_id", encoding=Encoding.ID, vocabulary="items"),
            Feature(name="history", encoding=Encoding.ID, vocabulary="items"),
            Feature(name="item_hash", column="item_id", encoding=Encoding.ID, vocabulary="hashed"),
            Feature(name="price", encoding=Encoding.ZSCORE),
            Feature(name="price_log", column="price", encoding=Encoding.LOG_ZSCORE),
            Feature(name="price_share", column="price", encoding=Encoding.MINMAX),
            Feature(name="price_raw", column="price", encoding=Encoding.IDENTITY),
            Feature(name="price_bucket", column="price", encoding=Encoding.QUANTILE, num_buckets=2),
            Feature(name="count", encoding=Encoding.SQUARED_LOG, vocabulary="counts"),
        ),
        vocabularies=(
            Vocabulary(name="items", frequency_threshold=2, num_oov_buckets=2),
            Vocabulary(name="hashed", hash_buckets=7),
            Vocabulary(name="counts", prefix=True),
        ),
        list_size=list_size,
    )


def ragged(lists: list[list[bytes]]) -> Ragged:
    flat = [value for values in lists for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(values) for values in lists])])
    return Ragged(np.array(flat, dtype=object), offsets)


def toy_rows(split: Split, items: list[bytes], prices: list[float], histories: list[list[bytes]]) -> Batch:
    n = len(items)
    return Batch(
        "row",
        split,
        {
            "request_id": np.array([b"r%d" % (i // 2) for i in range(n)]),
            "user_id": np.array([b"u%d" % (i % 2) for i in range(n)]),
            "item_id": np.array(items, dtype=object),
            "timestamp": np.array([MONDAY + 3600 * i for i in range(n)]),
            "label": np.array([float(i % 2) for i in range(n)], np.float32),
            "history": ragged(histories),
            "price": np.array(prices, np.float32),
            "count": np.array([float(i) for i in range(n)], np.float32),
            "truth": np.full(n, 0.5, np.float32),
        },
    )


TRAIN = toy_rows(
    "train",
    [b"a", b"a", b"b", b"c", b"", b"a"],
    [1.0, 3.0, float("nan"), 5.0, 7.0, 9.0],
    [[b"b"], [], [b"x", b"a", b"b"], [b"a"], [], [b"b"]],
)
EVAL = toy_rows("eval", [b"a", b"only_in_eval"], [1.0, 900.0], [[b"only_in_eval"], []])
TEST = toy_rows("test", [b"b", b"a", b"b", b"a"], [2.0, 4.0, 2.0, 4.0], [[], [b"a"], [], []])


def write_toy(out: Path, batches: tuple[Batch, ...] = (TRAIN, EVAL, TEST)) -> Dataset:
    write_dataset(batches, out, "toy", toy_features(), {"seed": 0})
    return load_dataset(out)


def learnable_rows(split: Split, n: int, seed: int, noise: float = 0.0) -> Batch:
    """Rows whose label depends on the item and the price; `noise` is the share of labels drawn anew."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 20, n)
    price = rng.random(n).astype(np.float32) * 100
    logit = np.where(item % 2 == 0, 1.5, -1.5) + (price - 50) / 40
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    redrawn = rng.random(n) < noise
    label = np.where(redrawn, rng.integers(0, 2, n), label).astype(np.float32)
    lengths = rng.integers(0, 4, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    names = np.array([b"i%d" % i for i in range(20)], dtype=object)
    return Batch(
        "row",
        split,
        {
            "request_id": np.array([b"r%d" % (i // 5) for i in range(n)]),
            "user_id": np.array([b"u%d" % i for i in range(30)])[rng.integers(0, 30, n)],
            "item_id": names[item],
            "timestamp": MONDAY + np.arange(n) * 60,
            "label": label,
            "history": Ragged(names[rng.integers(0, 20, offsets[-1])], offsets),
            "price": price,
            "count": rng.integers(0, 50, n).astype(np.float32),
            "truth": (1 / (1 + np.exp(-logit))).astype(np.float32),
        },
    )


def write_learnable(out: Path, noise: float = 0.0, seed: int = 1) -> Dataset:
    batches = [
        learnable_rows("train", 3000, seed, noise),
        learnable_rows("eval", 500, seed + 1),
        learnable_rows("test", 1000, seed + 2),
    ]
    write_dataset(batches, out, "toy", toy_features(), {"seed": seed})
    return load_dataset(out)
