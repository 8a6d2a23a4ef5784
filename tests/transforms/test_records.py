import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toy_data import EVAL, TEST, TRAIN, ragged, toy_features, write_toy
from transforms.arrow import pa
from transforms.batches import Batch, counts, encode
from transforms.errors import InputError
from transforms.records import Dataset, load_dataset, shard_paths, split_named, verify_shards, warnings_of
from transforms.schema import parse_spec
from transforms.writing import write_dataset


def with_columns(batch: Batch, **columns) -> Batch:
    return dataclasses.replace(batch, columns={**batch.columns, **columns})


def request_batch() -> Batch:
    return Batch(
        "request",
        "train",
        {
            "request_id": np.array([b"r0", b"r1"]),
            "user_id": np.array([b"u0", b"u1"]),
            "item_id": np.array([[b"a", b"b", b""], [b"b", b"", b""]]),
            "timestamp": np.array([10, 5]),
            "label": np.array([[1, 1, 1], [0, 0, 0]], np.float32),
            "candidate": np.array([[1, 1, 0], [1, 0, 0]]),
            "exposed": np.array([[1, 0, 1], [0, 0, 0]]),
            "history": ragged([[b"a", b"b"], []]),
            "price": np.array([[1, 2, 0], [3, 0, 0]], np.float32),
            "count": np.zeros((2, 3), np.float32),
            "truth": np.zeros((2, 3), np.float32),
        },
    )


def test_rows_come_back_as_they_were_written():
    columns = tf.io.parse_example(encode(TRAIN, toy_features()), parse_spec(toy_features(), "row"))
    assert columns["item_id"].numpy().tolist() == [b"a", b"a", b"b", b"c", b"", b"a"]
    assert columns["history"].to_list() == [[b"b"], [], [b"x", b"a", b"b"], [b"a"], [], [b"b"]]
    np.testing.assert_array_equal(columns["price"], np.array([1, 3, np.nan, 5, 7, 9], np.float32))
    assert columns["timestamp"].dtype == tf.int64


def test_requests_come_back_as_they_were_written():
    features = toy_features(3)
    columns = tf.io.parse_example(encode(request_batch(), features), parse_spec(features, "request"))
    assert columns["item_id"].numpy().tolist() == [[b"a", b"b", b""], [b"b", b"", b""]]
    assert columns["history"].to_list() == [[b"a", b"b"], []]
    assert columns["exposed"].numpy().tolist() == [[1, 0, 1], [0, 0, 0]]


def test_only_exposed_real_candidates_count():
    # Request 0: candidate 0 is exposed; candidate 2 is padding although it says exposed.
    assert counts(request_batch()) == (1, 1)
    assert counts(TRAIN) == (6, 3)


def test_arrow_strings_are_written_like_bytes():
    arrow = with_columns(TRAIN, item_id=pa.array(["a", "a", "b", "c", "", "a"]))
    assert encode(arrow, toy_features()) == encode(TRAIN, toy_features())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"extra": np.zeros(6)}, "unknown columns"),
        ({"price": np.zeros(5, np.float32)}, "shape"),
        ({"price": np.array(["x"] * 6)}, "expected float"),
        ({"timestamp": np.zeros(6, np.float32)}, "expected int64"),
        ({"item_id": np.zeros(6)}, "expected string"),
        ({"history": np.zeros(6)}, "Ragged"),
    ],
)
def test_a_wrong_batch_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        encode(with_columns(TRAIN, **columns), toy_features())


def test_dataset_json_counts_what_is_there(tmp_path):
    dataset = write_toy(tmp_path / "d")
    train = dataset.records["row"]["train"]
    assert (train.records, train.examples, train.positives) == (6, 6, 3)
    assert train.time_range == (345600, 345600 + 5 * 3600)
    assert len(shard_paths(tmp_path / "d", dataset, "row", "test")) == 1


def test_equal_batches_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_toy(tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    def batches():
        yield TRAIN
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_dataset(batches(), tmp_path / "d", "toy", toy_features(), {})
    assert os.listdir(tmp_path) == []


def test_an_output_in_use_is_refused(tmp_path):
    write_toy(tmp_path / "d")
    before = (tmp_path / "d" / "dataset.json").read_bytes()
    with pytest.raises(InputError, match="in use"):
        write_toy(tmp_path / "d")
    assert (tmp_path / "d" / "dataset.json").read_bytes() == before


def test_no_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="no records"):
        write_dataset([], tmp_path / "d", "toy", toy_features(), {})
    assert os.listdir(tmp_path) == []


def test_a_changed_shard_is_found(tmp_path):
    dataset = write_toy(tmp_path / "d")
    verify_shards(tmp_path / "d", dataset)
    path = shard_paths(tmp_path / "d", dataset, "row", "train")[0]
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="damaged or changed"):
        verify_shards(tmp_path / "d", dataset)


def test_a_missing_shard_is_named(tmp_path):
    dataset = write_toy(tmp_path / "d", (TRAIN, EVAL, TEST))
    os.remove(shard_paths(tmp_path / "d", dataset, "row", "eval")[0])
    with pytest.raises(InputError, match=r"row/eval.*no such file"):
        shard_paths(tmp_path / "d", dataset, "row", "eval")


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"sha256": 1}', "\x00"])
def test_a_damaged_manifest_is_refused(tmp_path, damage):
    write_toy(tmp_path / "d")
    (tmp_path / "d" / "dataset.json").write_text(damage)
    with pytest.raises(InputError, match=r"dataset\.json"):
        load_dataset(tmp_path / "d")


def test_a_manifest_whose_hash_does_not_fit_is_refused(tmp_path):
    write_toy(tmp_path / "d")
    path = tmp_path / "d" / "dataset.json"
    payload = json.loads(path.read_text())
    payload["records"]["row"]["train"]["shards"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(payload))
    with pytest.raises(InputError, match="sha256"):
        load_dataset(tmp_path / "d")


def test_a_manifest_of_version_1_is_read_with_the_present_names(tmp_path):
    write_toy(tmp_path / "d")
    path, written = tmp_path / "d" / "dataset.json", load_dataset(tmp_path / "d")
    payload = json.loads(path.read_text())
    payload["feature_set"]["spaces"] = payload["feature_set"].pop("vocabularies")
    for feature in payload["feature_set"]["features"]:
        feature["space"] = feature.pop("vocabulary")
    path.write_text(json.dumps({**payload, "format_version": 1}))
    assert load_dataset(tmp_path / "d") == written


def test_a_manifest_of_another_version_is_refused(tmp_path):
    write_toy(tmp_path / "d")
    path = tmp_path / "d" / "dataset.json"
    payload = json.loads(path.read_text())
    path.write_text(json.dumps({**payload, "format_version": 3}))
    with pytest.raises(InputError, match=r"dataset\.json: received format_version 3; expected 2"):
        load_dataset(tmp_path / "d")


def test_unknown_records_and_splits_are_named(tmp_path):
    dataset = write_toy(tmp_path / "d", (TRAIN,))
    with pytest.raises(InputError, match="records of kind request"):
        shard_paths(tmp_path / "d", dataset, "request", "train")
    with pytest.raises(InputError, match="split 'test'"):
        shard_paths(tmp_path / "d", dataset, "row", "test")
    with pytest.raises(InputError, match="one of train, eval, test"):
        split_named("tset")


def test_splits_that_are_empty_or_of_one_class_are_warned_of(tmp_path):
    def split(records, positives):
        shard = {"path": "row/x/y", "records": records, "examples": records, "positives": positives, "sha256": "0"}
        return {"shards": [{**shard, "first_timestamp": 1, "last_timestamp": 1}]}

    splits = {"train": split(9, 3), "eval": split(5, 0)}
    dataset = Dataset(source="toy", feature_set=toy_features(), records={"row": splits})
    assert warnings_of(dataset, lambda record, split: 0.0) == [
        "row records: in split eval no label is 1; check the label and the splits",
        "row records: split test is empty; change the splits, or import more data",
    ]
    assert warnings_of(dataset, lambda record, split: 0.3) == [
        "row records: split test is empty; change the splits, or import more data"
    ], "labels that are shares"
    assert warnings_of(dataset.model_copy(update={"records": {}}), lambda record, split: 0.0) == []


def test_no_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="received an empty folder; expected a dataset"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("split", "path", "message"),
    [
        ("test", "row/train/data-00000-of-00001.tfrecord", "split 'test': received shard row/train"),
        ("test", "../other/row/test/data-00000-of-00001.tfrecord", "split 'test': received shard .."),
        ("test", "/row/test/data-00000-of-00001.tfrecord", "split 'test': received shard /row"),
    ],
)
def test_a_shard_of_another_split_or_place_is_refused(tmp_path, split, path, message):
    dataset = write_toy(tmp_path / "d")
    splits = dataset.records["row"]
    shard = splits[split].shards[0].model_copy(update={"path": path})
    moved = {"row": {**splits, split: splits[split].model_copy(update={"shards": (shard,)})}}
    dataset.model_copy(update={"records": moved}).write(tmp_path / "d")
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "d")


def test_a_shard_cannot_count_twice(tmp_path):
    dataset = write_toy(tmp_path / "d")
    train = dataset.records["row"]["train"]
    twice = {"row": {**dataset.records["row"], "train": train.model_copy(update={"shards": train.shards * 2})}}
    dataset.model_copy(update={"records": twice}).write(tmp_path / "d")
    with pytest.raises(InputError, match="split 'train': received the same shard again"):
        load_dataset(tmp_path / "d")


def test_an_empty_split_is_not_among_those_to_choose_from(tmp_path):
    dataset = write_toy(tmp_path / "d")
    empty = {
        "row": {**dataset.records["row"], "eval": dataset.records["row"]["eval"].model_copy(update={"shards": ()})}
    }
    with pytest.raises(InputError, match="received splits train, test; expected a split 'eval' that is not empty"):
        shard_paths(tmp_path / "d", dataset.model_copy(update={"records": empty}), "row", "eval")
