"""Every encoding of every kind of column, also of such as nobody would log: numbers stay finite, ids in their table."""

import numpy as np
import pytest
import tensorflow as tf

from transforms.batches import Batch
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.features import TIME_ENCODINGS, Column, Encoding, Feature, FeatureSet
from transforms.records import load_dataset
from transforms.vocabularies import table_sizes
from transforms.writing import write_dataset

N, NAN, BIG, INF = 40, float("nan"), 3.3e38, float("inf")
_RNG = np.random.default_rng(0)
FLOATS = {
    "empty": np.full(N, NAN),
    "one_value": np.where(np.arange(N) == 3, 5.0, NAN),
    "constant": np.full(N, 0.1),
    "huge": _RNG.choice([-BIG, BIG, 0, NAN], N),
    "infinite": _RNG.choice([INF, -INF, 1, 2], N),
    "normal": _RNG.normal(size=N) - 5,
}
INTEGERS = {
    "no_integer": np.full(N, -1),
    "seconds": 1_600_000_000 + _RNG.integers(0, 60, N),
    "ends": _RNG.choice([-(2**63), 2**63 - 1], N),
}
SERVED = [NAN, 0.0, 0.1, 5.0, -7.5, BIG, -BIG, 1e-40, INF, -INF]
SERVED_INTEGERS = [-1, 0, 7, -(2**63), 2**63 - 1, 1_600_000_030, 2**52 + 4, 5, -3, 2]
WITHOUT_SPREAD = ("empty", "one_value", "constant", "no_integer")
SCALES = (Encoding.ZSCORE, Encoding.LOG_ZSCORE, Encoding.MINMAX)


def features() -> FeatureSet:
    columns = [Column(name=name, dtype="float", entity="item") for name in FLOATS]
    columns += [Column(name=name, dtype="int64", entity="item") for name in INTEGERS]
    numbers = (*SCALES, Encoding.IDENTITY, Encoding.QUANTILE)
    others = {"ends": (*TIME_ENCODINGS, Encoding.SQUARED_LOG), "infinite": (Encoding.SQUARED_LOG,)}
    return FeatureSet(
        columns=tuple(columns),
        features=tuple(
            Feature(name=f"{column.name}_by_{encoding.value}", column=column.name, encoding=encoding)
            for column in columns
            for encoding in (*numbers, *others.get(column.name, ()))
        ),
    )


def batch(split, floats, integers) -> Batch:
    count = len(next(iter(floats.values())))
    keys = {name: np.array([b"x"] * count) for name in ("request_id", "user_id", "item_id")}
    numbers = {name: np.asarray(values, np.float32) for name, values in floats.items()}
    numbers |= {name: np.asarray(values, np.int64) for name, values in integers.items()}
    label = (np.arange(count) % 2).astype(np.float32)
    return Batch("row", split, {**keys, "timestamp": np.arange(count), "label": label, **numbers})


@pytest.fixture(scope="module")
def transformed(tmp_path_factory):
    """Of train and eval: each feature's values; and the sizes of the tables."""
    folder = tmp_path_factory.mktemp("finite")
    batches = [
        batch("train", FLOATS, INTEGERS),
        batch("eval", dict.fromkeys(FLOATS, SERVED), dict.fromkeys(INTEGERS, SERVED_INTEGERS)),
    ]
    write_dataset(batches, folder / "data", "toy", features(), {})
    transform_dataset(folder / "data", load_dataset(folder / "data"), folder / "out", features(), "row")
    learned = load_transform(folder / "out")
    found = {}
    for split in ("train", "eval"):
        (file,) = transformed_files(folder / "out", split)
        records = [record.numpy() for record in tf.data.TFRecordDataset(file)]
        parsed = tf.io.parse_example(records, learned.transformed_feature_spec())
        found[split] = {name: values.numpy() for name, values in parsed.items()}
    return found, table_sizes(features(), learned)


def test_every_number_is_finite_and_every_id_has_its_row(transformed):
    found, sizes = transformed
    for split, columns in found.items():
        for feature in features().features:
            values = columns[feature.name]
            if feature.is_id:
                assert values.min() >= 0 and values.max() < sizes[feature.vocabulary], (split, feature.name)
            else:
                assert np.isfinite(values).all(), (split, feature.name)


def test_what_is_missing_is_0_whatever_was_learned(transformed):
    for feature in features().features:
        served = transformed[0]["eval"][feature.name]
        missing = [0] if feature.column in INTEGERS else [0, -2, -1]
        assert not served[missing].any(), feature.name


def test_a_column_without_spread_in_train_gives_0(transformed):
    for name in WITHOUT_SPREAD:
        for encoding in SCALES:
            for split in ("train", "eval"):
                assert not transformed[0][split][f"{name}_by_{encoding.value}"].any(), (name, encoding, split)


@pytest.mark.parametrize("name", ["seconds", "huge", "normal"])
def test_scaling_is_that_of_numpy_in_double_precision(transformed, name):
    """Times keep their differences, which float32 would round away."""
    raw = (FLOATS | INTEGERS)[name]
    raw = np.asarray(np.asarray(raw, np.float32) if name in FLOATS else raw, np.float64)
    real = np.isfinite(raw)
    low, high = raw[real].min(), raw[real].max()
    expected = {
        Encoding.ZSCORE: (raw - raw[real].mean()) / raw[real].std(),
        Encoding.MINMAX: (raw - low) / (high - low),
    }
    for encoding, values in expected.items():
        found = transformed[0]["train"][f"{name}_by_{encoding.value}"]
        np.testing.assert_allclose(found, np.where(real, values, 0), rtol=1e-5, atol=1e-6)
