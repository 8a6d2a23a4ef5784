"""Values that no column may have are refused where records are written, read and judged."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toy_data import EVAL, TEST, TRAIN, ragged, toy_features, write_toy
from transforms.arrow import pa
from transforms.batches import Batch, Ragged, Values, encode
from transforms.beam.import_dataset import WriteShards
from transforms.domains import outside
from transforms.errors import InputError
from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.integrity import check_values
from transforms.records import Dataset, load_dataset, shard_paths
from transforms.spans import cut_spans
from transforms.writing import write_dataset

NOW = 1_700_000_000
NAN, INF = float("nan"), float("inf")


def with_columns(batch: Batch, **columns: Any) -> Batch:
    return dataclasses.replace(batch, columns={**batch.columns, **columns})


def changed(batch: Batch, column: str, place: Any, value: Any) -> Batch:
    values = np.array(batch.columns[column])
    values[place] = value
    return with_columns(batch, **{column: values})


def requests(**columns: Any) -> Batch:
    """Two requests of three places: request 0 has two real candidates, request 1 one."""
    values: dict[str, Any] = {
        "request_id": np.array([b"r0", b"r1"]),
        "user_id": np.array([b"", b"u1"]),
        "item_id": np.array([[b"a", b"b", b""], [b"b", b"", b""]]),
        "timestamp": np.array([NOW, NOW + 1]),
        "label": np.array([[1, 0, 0], [0, 0, 0]], np.float32),
        "candidate": np.array([[1, 1, 0], [1, 0, 0]]),
        "exposed": np.array([[1, 0, 0], [1, 0, 0]]),
        "history": ragged([[b"a", b"b"], []]),
        "price": np.array([[1, 2, -7], [3, NAN, 5000]], np.float32),
        "count": np.array([[INF, -5, 0], [0, 0, 0]], np.float32),
        "truth": np.zeros((2, 3), np.float32),
    }
    return Batch("request", "train", {**values, **columns})


def with_ids(list_size: int | None = None) -> FeatureSet:
    return toy_features(list_size).model_copy(update={"requires_item_id": True})


def written_as_it_is(folder: Path, batch: Batch, features: FeatureSet) -> Dataset:
    """A dataset whose shard, made by somebody else's writer, has these records, and whose manifest knows no better."""
    good = {"row": TRAIN, "request": requests()}[batch.record]
    write_dataset([good], folder, "toy", features, {})
    dataset = load_dataset(folder)
    with tf.io.TFRecordWriter(shard_paths(folder, dataset, batch.record, "train")[0]) as writer:
        for record in encode(batch, features):
            writer.write(record)
    return dataset


ROWS = [
    ("label", 2, 2.0, "record 2, column 'label': received 2; expected a finite number from 0 to 1"),
    ("label", 5, -1.0, "record 5, column 'label': received -1;"),
    ("label", 0, NAN, "record 0, column 'label': received nan;"),
    ("label", 0, INF, "record 0, column 'label': received inf;"),
    (
        "price",
        1,
        -0.5,
        "record 1, column 'price': received -0.5; expected a finite number from 0 to 1000, or NaN where",
    ),
    ("price", 1, 1000.25, "record 1, column 'price': received 1000.25"),
    ("price", 1, -INF, "record 1, column 'price': received -inf"),
    ("timestamp", 3, -1, "record 3, column 'timestamp': received -1; expected seconds since 1970, 0 to 4102444799"),
    ("timestamp", slice(None), NOW * 1000, "received 1700000000000; .*milliseconds.*2023-11-14.*divide by 1,000"),
    ("timestamp", slice(None), NOW * 10**6, "microseconds.*divide by 1,000,000"),
    ("timestamp", slice(None), NOW * 10**9, "nanoseconds"),
    (
        "timestamp",
        [0, 1, 2, 3, 5],
        NOW,
        "record 4, column 'timestamp': received 360000; .*all before or all after 1990",
    ),
]


@pytest.mark.parametrize(("column", "place", "value", "message"), ROWS)
def test_a_row_with_a_value_that_its_column_cannot_have_is_not_written(tmp_path, column, place, value, message):
    with pytest.raises(InputError, match=rf"row/train/part-00000, .*{message}"):
        write_dataset([changed(TRAIN, column, place, value)], tmp_path / "data", "toy", toy_features(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("column", "place", "value", "message"), ROWS)
def test_the_same_value_is_refused_where_it_is_read(tmp_path, column, place, value, message):
    dataset = written_as_it_is(tmp_path / "data", changed(TRAIN, column, place, value), toy_features())
    with pytest.raises(InputError, match=rf"row/train/data-00000-of-00001.tfrecord, .*{message}"):
        check_values(tmp_path / "data", dataset, "row", ["train"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"candidate": np.array([[1, 2, 0], [1, 0, 0]])},
            "record 0, column 'candidate': received 2; expected an integer",
        ),
        ({"exposed": np.array([[1, 0, 0], [-1, 0, 0]])}, "record 1, column 'exposed': received -1;"),
        ({"label": np.array([[1, 0, 0], [0, NAN, 0]], np.float32)}, "record 1, column 'label': received nan"),
        ({"price": np.array([[1, 2, 0], [-3, 0, 0]], np.float32)}, "record 1, column 'price': received -3;"),
        ({"item_id": np.array([[b"a", b"", b""], [b"b", b"", b""]])}, "record 0, column 'item_id': received an empty"),
    ],
)
def test_a_request_with_a_value_that_its_column_cannot_have_is_refused(tmp_path, columns, message):
    with pytest.raises(InputError, match=f"request/train/part-00000, {message}"):
        write_dataset([requests(**columns)], tmp_path / "new", "toy", with_ids(3), {})
    dataset = written_as_it_is(tmp_path / "data", requests(**columns), with_ids(3))
    with pytest.raises(InputError, match=message):
        check_values(tmp_path / "data", dataset, "request", ["train"])


def test_padding_missing_markers_and_anonymous_users_are_fine(tmp_path):
    write_dataset([requests()], tmp_path / "data", "toy", with_ids(3), {})
    check_values(tmp_path / "data", load_dataset(tmp_path / "data"), "request", ["train"])


@pytest.mark.parametrize("items", [[b"a", b""], pa.array(["a", ""]), pa.array(["a", None]), np.array(["a", ""])])
def test_an_empty_item_id_is_refused_where_the_source_has_ids_and_is_missing_elsewhere(tmp_path, items):
    values = np.array(items, object) if isinstance(items, list) else items
    batch = with_columns(EVAL, item_id=values)
    write_dataset([batch], tmp_path / "without", "toy", toy_features(), {})
    with pytest.raises(InputError, match="record 1, column 'item_id': received an empty string"):
        write_dataset([batch], tmp_path / "with", "toy", with_ids(), {})


def test_a_number_in_a_list_is_found_and_its_record_named(tmp_path):
    features = FeatureSet(
        columns=(Column(name="prices", dtype="float", entity="user", variable_length=True, min_value=0.1),),
        features=(Feature(name="user_id", encoding=Encoding.ID),),
    )
    keys = {name: TEST.columns[name] for name in ("request_id", "user_id", "item_id", "timestamp", "label")}
    lists = Ragged(np.array([0.1, 5, 0.05, NAN], np.float32), np.array([0, 1, 1, 3, 4]))
    with pytest.raises(InputError, match="record 2, column 'prices': received 0.05"):
        write_dataset([Batch("row", "train", {**keys, "prices": lists})], tmp_path / "data", "toy", features, {})


def test_bounds_are_those_of_the_columns_type():
    """0.1 as float32 is above 0.1; an integer column from 0.5 begins at 1."""
    values = {"share": np.array([0.1], np.float32), "number": np.array([0])}
    columns = (
        Column(name="share", dtype="float", entity="item", max_value=0.1),
        Column(name="number", dtype="int64", entity="item", min_value=0.5),
    )
    assert [outside(column, values[column.name]).tolist() for column in columns] == [[False], [True]]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("timestamp", np.full(6, 2**63, np.uint64), "9223372036854775808, which int64 cannot hold"),
        ("price", np.full(6, 1e39), "1e.39, which float cannot hold"),
        ("count", np.full(6, 2**24 + 1), "16777217, which float cannot hold; declare it int64"),
    ],
)
def test_a_number_that_the_columns_type_cannot_hold_is_refused(column, values, message):
    with pytest.raises(ValueError, match=message):
        encode(with_columns(TRAIN, **{column: values}), toy_features())


@pytest.mark.parametrize("offsets", [[0, 1, 1, 4, 5, 5, 7], [1, 1, 1, 4, 5, 5, 6], [0, 3, 1, 4, 5, 5, 6]])
def test_lists_whose_offsets_do_not_fit_their_elements_are_refused(offsets):
    history = TRAIN.columns["history"]
    assert isinstance(history, Ragged)
    lists = Ragged(history.values, np.array(offsets))
    with pytest.raises(ValueError, match="'history' has offsets"):
        encode(with_columns(TRAIN, history=lists), toy_features())


def test_records_of_another_form_are_refused_with_the_file(tmp_path):
    dataset = write_toy(tmp_path / "data")
    path = shard_paths(tmp_path / "data", dataset, "row", "train")[0]
    example = tf.train.Example.FromString(encode(TRAIN, toy_features())[0])
    example.features.feature["label"].float_list.value.append(1.0)
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(example.SerializeToString())
    with pytest.raises(InputError, match=r"data-00000-of-00001.tfrecord, one of the .*label"):
        check_values(tmp_path / "data", dataset, "row", ["train"])


def test_the_number_of_a_record_counts_from_the_start_of_its_file(tmp_path):
    many = 5000
    rows: dict[str, Values] = {
        name: np.resize(np.asarray(values), many) for name, values in TEST.columns.items() if name != "history"
    }
    rows |= {"timestamp": np.arange(many), "history": Ragged(np.array([], object), np.zeros(many + 1, np.int64))}
    batch = changed(Batch("row", "train", rows), "label", 4321, 2.0)
    dataset = written_as_it_is(tmp_path / "data", batch, toy_features())
    with pytest.raises(InputError, match="record 4321, column 'label'"):
        check_values(tmp_path / "data", dataset, "row", ["train"])


def test_spans_are_not_cut_from_wrong_values(tmp_path):
    written_as_it_is(tmp_path / "data", changed(TRAIN, "label", 2, 2.0), toy_features())
    with pytest.raises(InputError, match="record 2, column 'label'"):
        cut_spans(tmp_path / "data", tmp_path / "stream", 2)
    assert not (tmp_path / "stream").exists()


def test_an_imports_wrong_value_is_left_for_the_launcher_to_tell(tmp_path):
    write = WriteShards(str(tmp_path), toy_features())
    with pytest.raises(InputError):
        list(write.process(("part-0", changed(TRAIN, "label", 2, 2.0))))
    (report,) = tmp_path.glob("error-*.json")
    assert "row/train/part-0, record 2, column 'label'" in report.read_text()


@pytest.mark.parametrize(
    ("bounds", "dtype", "message"),
    [
        ({"min_value": 2, "max_value": 1}, "float", "the minimum first"),
        ({"min_value": NAN}, "float", "finite"),
        ({"max_value": INF}, "int64", "finite"),
        ({"min_value": 0}, "string", "is a string"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(bounds, dtype, message):
    with pytest.raises(ValueError, match=message):
        Column(name="x", dtype=dtype, entity="item", **bounds)
