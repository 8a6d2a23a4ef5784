"""Tables of items of a declared log: they are kept with the dataset, and the catalogue has items without a record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from serving.retrieval.catalogue import NewestItems, catalogue_at, catalogue_of
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.records import Dataset, items_in, load_dataset, shard_paths, verify_shards
from transforms.sources.table.source import table_source
from transforms.spans import cut_spans, files_of, spans_in

DAY, NEW_YEAR = 86_400, 1_767_225_600
DECLARATION = """
name: shop
files: log.jsonl
item_id: article
user_id: user
timestamp: at
label: click
features:
  sales: {count: {per: item_id, where: label == 1}}
  bought: {history: {of: item_id, where: label == 1, last: 3}}
  shelf: {entity: item}
tables:
  items:
    files: items.jsonl
    key: article
    features:
      genre: {list: 2, separator: "|"}
      since: {type: date}
  prices:
    files: prices.jsonl
    key: article
    entity: item
    timestamp: valid_from
    features:
      price: {type: float, min: 0}
splits: {by: time, dates: {eval: 2026-01-06, test: 2026-01-09}}
"""
LOG: list[dict[str, Any]] = [
    {"article": article, "user": 1 + day % 2, "at": NEW_YEAR + day * DAY, "click": int(day % 2), "shelf": f"s{day}"}
    for day, article in enumerate("ababacadab")
]
ITEMS: list[dict[str, Any]] = [
    {"article": "a", "genre": "x|y", "since": "2025-12-31"},
    {"article": "b", "genre": "y", "since": None},
    {"article": "never", "genre": "z", "since": "2026-01-01"},
    {"article": None, "genre": "z", "since": None},
]
# The price of `a` rises in the eval split; `late` comes in it, `later` after it.
PRICES: list[dict[str, Any]] = [
    {"article": "a", "valid_from": NEW_YEAR + 6 * DAY, "price": 2},
    {"article": "a", "valid_from": NEW_YEAR - DAY, "price": 1},
    {"article": "never", "valid_from": NEW_YEAR - DAY, "price": 3},
    {"article": "late", "valid_from": NEW_YEAR + 6 * DAY, "price": 4},
    {"article": "later", "valid_from": NEW_YEAR + 9 * DAY, "price": 5},
]


def write_log(folder: Path, **files: list[dict[str, Any]]) -> Path:
    """The declaration with its files."""
    for name, rows in ({"log": LOG, "items": ITEMS, "prices": PRICES} | files).items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declaration = folder / "shop.yaml"
    declaration.write_text(yaml.safe_dump(yaml.safe_load(DECLARATION)))
    return declaration


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """The imported log."""
    folder = tmp_path_factory.mktemp("shop")
    return folder / "data", import_dataset(table_source(write_log(folder)), folder, folder / "data")


def test_items_without_a_record_are_in_the_catalogue_with_the_values_of_their_tables(
    made: tuple[Path, Dataset],
) -> None:
    data, dataset = made
    files = shard_paths(data, dataset, "row", "train") + shard_paths(data, dataset, "row", "eval")
    found = catalogue_of(files, dataset.feature_set, "row", items=items_in(data, dataset))
    # `d` is in no table, `c` in none and in the eval split; both have what their records say.
    assert found.ids.tolist() == [b"a", b"b", b"c", b"d", b"late", b"later", b"never"]
    assert found.columns["item_id"].tolist() == found.ids.tolist()
    assert found.columns["genre"].tolist() == [
        [b"x", b"y"], [b"y", b""], [b"", b""], [b"", b""], [b"", b""], [b"", b""], [b"z", b""]
    ]  # fmt: skip
    np.testing.assert_array_equal(found.columns["price"], [2, np.nan, np.nan, np.nan, 4, 5, 3])
    # Days to the last record that was read, of the 8th; `b` does not say its date.
    np.testing.assert_array_equal(found.columns["since"], [8, np.nan, np.nan, np.nan, np.nan, np.nan, 7])
    # Nobody can have bought what nobody was shown; what only the log says is missing.
    assert found.columns["sales"].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert found.columns["shelf"].tolist() == [b"s6", b"s3", b"s5", b"s7", b"", b"", b""]


def test_items_are_evaluated_with_what_their_tables_said_when_the_split_began(made: tuple[Path, Dataset]) -> None:
    data, dataset = made
    train, later = shard_paths(data, dataset, "row", "train"), shard_paths(data, dataset, "row", "eval")
    found = catalogue_at(train, later, dataset.feature_set, "row", items_in(data, dataset))
    assert found.ids.tolist() == [b"a", b"b", b"c", b"d", b"late", b"never"]
    np.testing.assert_array_equal(found.columns["price"], [1, np.nan, np.nan, np.nan, 4, 3])
    np.testing.assert_array_equal(found.columns["since"], [6, np.nan, np.nan, np.nan, np.nan, 5])


def test_tables_of_items_are_hashed_and_verified_with_the_dataset(tmp_path: Path, made: tuple[Path, Dataset]) -> None:
    # By another runner of Beam's, too, the same declaration gives the same bytes.
    runner = ["--runner=BundleBasedDirectRunner"]
    dataset = import_dataset(table_source(write_log(tmp_path)), tmp_path, tmp_path / "data", runner)
    assert dataset.sha256 == made[1].sha256
    assert dataset.items is not None
    assert {name: table.timed for name, table in dataset.items.tables.items()} == {"items": False, "prices": True}
    changed = [{**ITEMS[2], "genre": "w"} if row is ITEMS[2] else row for row in ITEMS]
    other = import_dataset(table_source(write_log(tmp_path, items=changed)), tmp_path, tmp_path / "other")
    assert other.sha256 != dataset.sha256 and other.records == dataset.records
    path = tmp_path / "data" / dataset.items.tables["items"].shards[0].path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match="damaged or changed"):
        verify_shards(tmp_path / "data", dataset)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        items_in(tmp_path / "data", dataset)


def test_a_row_of_an_item_that_nobody_was_shown_is_checked(tmp_path: Path) -> None:
    declaration = write_log(tmp_path, prices=[*PRICES, {"article": "free", "valid_from": NEW_YEAR, "price": -1}])
    with pytest.raises(InputError, match=r"prices\.jsonl, line 6, column price: received -1"):
        import_dataset(table_source(declaration), tmp_path, tmp_path / "data")


def test_a_stream_knows_the_items_of_tables_from_its_first_span_on(tmp_path: Path, made: tuple[Path, Dataset]) -> None:
    data, dataset = made
    cut_spans(data, tmp_path / "stream", 2)
    first, second = spans_in(tmp_path / "stream")
    assert load_dataset(first).items is not None and load_dataset(second).items is None
    newest = NewestItems(dataset.feature_set)
    newest.add(items_in(first, load_dataset(first)))
    newest.read(files_of(first, load_dataset(first)))
    # Five days have passed: `late` is not there yet, and the price of `a` has not risen.
    assert newest.catalogue().ids.tolist() == [b"a", b"b", b"never"]
    assert newest.catalogue().columns["price"].tolist()[0] == 1
    newest.read(files_of(second, load_dataset(second)))
    assert newest.catalogue().ids.tolist() == [b"a", b"b", b"c", b"d", b"late", b"later", b"never"]
    assert newest.catalogue().columns["price"].tolist()[0] == 2
