"""The catalogue of a log: every item once, its newest values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.retrieval.catalogue import catalogue_at, catalogue_of, item_columns, user_columns
from tests.helpers.toy_data import MONDAY, ragged, toy_features
from transforms.batches import Batch
from transforms.errors import InputError
from transforms.features import Column, Feature, FeatureSet, RecordKind
from transforms.records import load_dataset, shard_paths
from transforms.writing import write_dataset


def _rows(items: list[bytes], times: list[int], prices: list[float]) -> Batch:
    n = len(items)
    return Batch(
        "row",
        "train",
        {
            "request_id": np.array([b"r"] * n),
            "user_id": np.array([b"u"] * n),
            "item_id": np.array(items, object),
            "timestamp": MONDAY + np.array(times),
            "label": np.zeros(n, np.float32),
            "history": ragged([[]] * n),
            "price": np.array(prices, np.float32),
            "count": np.arange(n, dtype=np.float32),
            "truth": np.zeros(n, np.float32),
        },
    )


def _files(folder: Path, batches: list[Batch], features: FeatureSet, record: RecordKind = "row") -> list[str]:
    write_dataset(batches, folder, "toy", features, {})
    return shard_paths(folder, load_dataset(folder), record, "train")


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3])
def test_every_item_comes_once_sorted_with_its_newest_values(tmp_path: Path, batch_size: int | None) -> None:
    items = [b"b", b"a", b"", b"b", b"a", b"c", b"a"]
    batch = _rows(items, [5, 3, 9, 2, 3, 1, 1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    found = catalogue_of(_files(tmp_path, [batch], toy_features()), toy_features(), "row", batch_size)
    assert found.ids.tolist() == [b"a", b"b", b"c"] and len(found) == 3
    assert found.columns["item_id"].tolist() == found.ids.tolist()
    # Of a, two are equally new: the last read counts.
    assert found.columns["price"].tolist() == [5.0, 1.0, 6.0]
    assert found.columns["count"].tolist() == [4.0, 0.0, 5.0]
    assert found.columns["price"].dtype == np.float32


def test_a_later_shard_is_read_later_and_older_values_do_not_come_back(tmp_path: Path) -> None:
    first = _files(tmp_path / "1", [_rows([b"a", b"b"], [7, 7], [1.0, 2.0])], toy_features())
    second = _files(tmp_path / "2", [_rows([b"a", b"b"], [7, 6], [3.0, 4.0])], toy_features())
    for files, wanted in ((first + second, [3.0, 2.0]), (second + first, [1.0, 2.0])):
        assert catalogue_of(files, toy_features(), "row").columns["price"].tolist() == wanted


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3])
def test_the_earliest_values_are_those_of_the_oldest_record(tmp_path: Path, batch_size: int | None) -> None:
    items = [b"b", b"a", b"", b"b", b"a", b"c", b"a"]
    batch = _rows(items, [5, 3, 0, 2, 1, 1, 1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    files = _files(tmp_path, [batch], toy_features())
    found = catalogue_of(files, toy_features(), "row", batch_size, earliest=True)
    # Of a, two are equally old: the first read counts.
    assert found.ids.tolist() == [b"a", b"b", b"c"] and found.columns["price"].tolist() == [5.0, 4.0, 6.0]


def test_items_are_as_they_were_when_the_later_shards_began(tmp_path: Path) -> None:
    before = _files(tmp_path / "1", [_rows([b"a", b"b", b"a"], [1, 2, 3], [1.0, 2.0, 3.0])], toy_features())
    later = [_rows([b"c", b"a", b"c", b"d"], [5, 6, 7, 8], [4.0, 5.0, 6.0, 7.0])]
    since = _files(tmp_path / "2", later, toy_features())
    found = catalogue_at(before, since, toy_features(), "row")
    # a: its last value before; b: not there any more; c and d: as they first appeared.
    assert found.ids.tolist() == [b"a", b"b", b"c", b"d"]
    assert found.columns["price"].tolist() == [3.0, 2.0, 4.0, 7.0]
    assert catalogue_at([], since, toy_features(), "row").columns["price"].tolist() == [5.0, 4.0, 7.0]
    assert catalogue_at(before, [], toy_features(), "row").columns["price"].tolist() == [3.0, 2.0]


def test_columns_are_those_that_features_of_items_read_and_both_sides_are_all() -> None:
    own = (Column(name="tags", dtype="string", entity="item", variable_length=True),)
    features = FeatureSet(
        columns=(*toy_features().columns, *own),
        features=(*toy_features().features, {"name": "tags", "encoding": "id"}),
        vocabularies=toy_features().vocabularies,
    )
    assert [column.name for column in item_columns(features)] == ["item_id", "price", "count"]
    assert [column.name for column in user_columns(features)] == ["user_id", "timestamp", "history", "tags"]


def test_items_keep_all_values_of_a_column_with_a_width(tmp_path: Path) -> None:
    features = FeatureSet(
        columns=(Column(name="image", dtype="float", entity="item", width=2),),
        features=(Feature(name="item_id", encoding="id"), Feature(name="image", encoding="vector")),
    )
    columns = _rows([b"b", b"a", b"b"], [1, 2, 3], [0.0] * 3).columns
    keys = {name: columns[name] for name in ("request_id", "user_id", "item_id", "timestamp", "label")}
    batch = Batch("row", "train", {**keys, "image": np.array([[1, 2], [3, 4], [5, 6]], np.float32)})
    result = catalogue_of(_files(tmp_path, [batch], features), features, "row")
    assert result.columns["image"].tolist() == [[3, 4], [5, 6]]


def test_of_requests_the_real_candidates_count(tmp_path: Path) -> None:
    features = toy_features(3)
    lists: dict[str, Any] = {
        "item_id": np.array([[b"a", b"b", b""], [b"b", b"x", b"c"]], object),
        "price": np.array([[1.0, 2.0, 0.0], [3.0, 9.0, 4.0]], np.float32),
        "candidate": np.array([[1, 1, 0], [1, 0, 1]]),
        "exposed": np.array([[1, 0, 0], [0, 0, 0]]),
        **{name: np.zeros([2, 3], np.float32) for name in ("label", "count", "truth")},
    }
    batch = Batch(
        "request",
        "train",
        {
            "request_id": np.array([b"r", b"s"]),
            "user_id": np.array([b"u", b"u"]),
            "timestamp": MONDAY + np.array([1, 2]),
            "history": ragged([[], [b"a"]]),
            **lists,
        },
    )
    found = catalogue_of(_files(tmp_path, [batch], features, "request"), features, "request")
    assert found.ids.tolist() == [b"a", b"b", b"c"]
    assert found.columns["price"].tolist() == [1.0, 3.0, 4.0]


def test_without_an_item_and_of_damaged_files_it_is_said_what_to_do(tmp_path: Path) -> None:
    files = _files(tmp_path / "data", [_rows([b"", b""], [1, 2], [1.0, 2.0])], toy_features())
    with pytest.raises(InputError, match="received no item; expected records with an item_id"):
        catalogue_of(files, toy_features(), "row")
    with pytest.raises(InputError, match="no file: received no item"):
        catalogue_of([], toy_features(), "row")
    (tmp_path / "damaged").write_bytes(b"not a record at all")
    for name in ("damaged", "absent"):
        with pytest.raises(InputError, match="expected whole records"):
            catalogue_of([tmp_path / name], toy_features(), "row")


def test_ids_may_be_numbers_and_sort_as_such(tmp_path: Path) -> None:
    own = (Column(name="item_id", dtype="int64", entity="item"), *toy_features().columns)
    features = FeatureSet(columns=own, features=toy_features().features, vocabularies=toy_features().vocabularies)
    batch = _rows([b""] * 4, [1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0])
    columns = {**batch.columns, "item_id": np.array([10, 9, -1, 10])}
    found = catalogue_of(_files(tmp_path, [Batch("row", "train", columns)], features), features, "row")
    assert found.ids.tolist() == [9, 10] and found.columns["price"].tolist() == [2.0, 4.0]
