"""What the transform gives, worked out by hand from the toy dataset."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toy_data import EVAL, TEST, TRAIN, ragged, toy_features, write_toy
from transforms.batches import Batch, encode
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.features import FeatureSet
from transforms.input import parsed, serialized
from transforms.ops import signed_log, squared_log, time_ids
from transforms.vocabularies import table_sizes

PRICES = np.array([1.0, 3.0, 5.0, 7.0, 9.0])
"""Real prices of the train split."""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    dataset = write_toy(folder / "data")
    transform_dataset(folder / "data", dataset, folder / "out", toy_features(), "row")
    return folder / "out"


def columns_of(out, split):
    spec = load_transform(out).transformed_feature_spec()
    return next(iter(parsed(serialized(transformed_files(out, split), 100), spec)))


@pytest.fixture(scope="module")
def train(out):
    return columns_of(out, "train")


@pytest.fixture(scope="module")
def evaluation(out):
    return columns_of(out, "eval")


def test_one_vocabulary_pools_items_and_histories(out):
    # Histories keep their last two entries: x falls away. a: 3 items + 2 in histories; b: 1 + 3; c: 1.
    vocabulary = load_transform(out).vocabulary_by_name("items")
    assert vocabulary == [b"a", b"b"]


def test_ids_count_from_one_by_falling_frequency_and_missing_is_zero(train):
    items = train["item_id"].numpy()
    assert items[[0, 1, 2, 4, 5]].tolist() == [1, 1, 2, 0, 1]


def test_a_rare_token_goes_to_an_out_of_vocabulary_bucket(train):
    # Vocabulary ids are 1 and 2; the two buckets are 3 and 4.
    assert train["item_id"].numpy()[3] in (3, 4)


def test_histories_stay_ragged_and_keep_their_last_entries(train):
    assert train["history"].to_list() == [[2], [], [1, 2], [1], [], [2]]


def test_a_token_of_the_eval_split_alone_was_not_learned(evaluation):
    assert evaluation["item_id"].numpy()[0] == 1
    assert evaluation["item_id"].numpy()[1] in (3, 4)
    assert evaluation["history"].to_list()[0][0] == evaluation["item_id"].numpy()[1]


def test_statistics_come_from_the_train_split_alone(train, evaluation):
    expected = (PRICES - 5.0) / math.sqrt(8.0)
    np.testing.assert_allclose(train["price"].numpy()[[0, 1, 3, 4, 5]], expected, rtol=1e-5)
    np.testing.assert_allclose(evaluation["price"].numpy(), [-4 / math.sqrt(8.0), 895 / math.sqrt(8.0)], rtol=1e-5)


def test_a_missing_number_is_zero_in_every_scaling_and_has_no_bucket(train):
    for name in ("price", "price_log", "price_share", "price_raw", "price_bucket"):
        assert train[name].numpy()[2] == 0


def test_log_zscore(train):
    logs = np.log1p(PRICES)
    expected = (logs - logs.mean()) / logs.std()
    np.testing.assert_allclose(train["price_log"].numpy()[[0, 1, 3, 4, 5]], expected, rtol=1e-5)


def test_minmax_and_identity(train):
    np.testing.assert_allclose(train["price_share"].numpy(), [0, 0.25, 0, 0.5, 0.75, 1], atol=1e-6)
    np.testing.assert_array_equal(train["price_raw"].numpy(), [1, 3, 0, 5, 7, 9])


def test_quantile_buckets_hold_equal_counts(train):
    buckets = train["price_bucket"].numpy()[[0, 1, 3, 4, 5]]
    assert sorted(buckets.tolist()) == buckets.tolist()
    assert set(buckets) == {1, 2} and abs((buckets == 1).sum() - 2.5) <= 0.5


def test_hours_and_weekdays(train):
    assert train["hour"].numpy().tolist() == [1, 2, 3, 4, 5, 6]
    assert train["weekday"].numpy().tolist() == [1] * 6


def test_hashed_ids_stay_in_their_buckets_and_missing_is_zero(train):
    ids = train["item_hash"].numpy()
    assert ids[4] == 0 and (ids[[0, 1, 2, 3, 5]] >= 1).all() and (ids <= 7).all()
    assert ids[0] == ids[1] == ids[5]


def test_prefixed_tokens_carry_their_feature(out):
    # int(x) up to 2, then floor(ln(x)^2): 0 1 2 | ln(3)^2 = 1.2, ln(4)^2 = 1.9, ln(5)^2 = 2.6.
    assert sorted(load_transform(out).vocabulary_by_name("counts")) == [b"count=0", b"count=1", b"count=2"]


def test_table_sizes_hold_padding_vocabulary_and_buckets(out):
    sizes = table_sizes(toy_features(), load_transform(out))
    assert sizes == {
        "user_id": 4, "items": 5, "counts": 5, "hashed": 8, "price_bucket": 3, "hour": 25, "weekday": 8
    }  # fmt: skip


def test_label_passes_and_keys_do_not(train):
    assert train["label"].numpy().tolist() == [0, 1, 0, 1, 0, 1]
    assert not {"request_id", "truth", "timestamp"} & set(train)


def test_serving_transforms_as_training_did(out, train):
    layer = load_transform(out).transform_features_layer()
    raw = {
        "item_id": tf.constant([b"a", b"", b"never seen"]),
        "history": tf.ragged.constant([[b"x", b"a", b"b"], [], [b""]]),
        "price": tf.constant([1.0, float("nan"), 9.0]),
        "user_id": tf.constant([b"u0", b"u1", b""]),
        "timestamp": tf.constant([345600, 345600, 345600], tf.int64),
        "count": tf.constant([2.0, 4.0, float("nan")]),
    }
    served = layer(raw)
    assert served["item_id"].numpy()[:2].tolist() == [1, 0] and served["item_id"].numpy()[2] in (3, 4)
    assert served["history"].to_list() == [[1, 2], [], [0]]
    np.testing.assert_allclose(served["price"], [-4 / math.sqrt(8.0), 0, 4 / math.sqrt(8.0)], rtol=1e-5)
    assert served["count"].numpy()[2] == 0


def test_padding_of_requests_is_no_part_of_what_is_learned(tmp_path):
    features = FeatureSet(columns=toy_features().columns, features=toy_features(2).features, list_size=2)
    lists = {
        "item_id": np.array([[b"a", b"pad"], [b"b", b"a"]]),
        "price": np.array([[1.0, 500.0], [3.0, 5.0]], np.float32),
        "candidate": np.array([[1, 0], [1, 1]]),
        "exposed": np.array([[1, 0], [1, 0]]),
        "label": np.array([[1, 0], [0, 0]], np.float32),
        "count": np.zeros((2, 2), np.float32),
        "truth": np.zeros((2, 2), np.float32),
    }
    batches = []
    for batch in (TRAIN, EVAL, TEST):
        history = ragged([[], []])
        kept = {name: np.asarray(batch.columns[name])[:2] for name in ("request_id", "user_id", "timestamp")}
        batches.append(Batch("request", batch.split, {**kept, **lists, "history": history}))
    from transforms.records import load_dataset
    from transforms.writing import write_dataset

    write_dataset(batches, tmp_path / "data", "toy", features, {})
    transform_dataset(tmp_path / "data", load_dataset(tmp_path / "data"), tmp_path / "out", features, "request")
    columns = columns_of(tmp_path / "out", "train")
    assert b"pad" not in load_transform(tmp_path / "out").vocabulary_by_name("items")
    assert columns["item_id"].numpy().tolist() == [[1, 0], [2, 1]]
    # Real prices are 1, 3 and 5: mean 3, variance 8/3.
    expected = np.array([[-2, 0], [0, 2]]) / math.sqrt(8 / 3)
    np.testing.assert_allclose(columns["price"], expected, rtol=1e-5, atol=1e-7)
    assert {"candidate", "exposed", "label"} <= set(columns)


def test_squared_log_is_the_x4_discretisation():
    values = [-3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 10.0, 1000.0]
    expected = [int(v) if v <= 2 else math.floor(math.log(v) ** 2) for v in values]
    assert squared_log(tf.constant(values)).numpy().tolist() == expected == [-3, -1, 0, 1, 2, 1, 5, 47]


def test_signed_log_is_odd():
    np.testing.assert_allclose(signed_log(tf.constant([-3.0, 0.0, 3.0])), [-math.log(4), 0, math.log(4)], rtol=1e-6)


def test_times_before_1970_are_still_right():
    feature = toy_features().features[2]
    # 31 December 1969 was a Wednesday.
    assert time_ids(feature, tf.constant([-1], tf.int64), tf.constant([True])).numpy().tolist() == [3]


def test_encoded_batches_have_every_column():
    assert len(encode(TRAIN, toy_features())) == 6
