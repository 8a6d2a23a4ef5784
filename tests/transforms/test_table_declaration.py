"""Declarations of logs: what they mean, and what is refused with file, key and fix."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from transforms.errors import InputError
from transforms.sources.table.conditions import Comparison, parse_condition
from transforms.sources.table.load import load_declaration, parse_declaration

SHOP = """\
name: shop
files: clicks/*.csv
user_id: customer
item_id: article
request_id: [session]
list_size: 10
timestamp: {column: at, unit: ms, timezone: Europe/Berlin}
label: {column: event, positive: [click, buy]}
exposed: shown
features:
  price: {type: float, entity: item}
  hour: {column: at, encoding: hour_of_day}
  clicked: {history: {of: item_id, where: label == 1, last: 50}}
  item_clicks: {count: {where: label == 1, per: item_id, lag: 1h}}
tables:
  items:
    files: items.parquet
    key: article
    features: {brand: string, category: {}}
"""


def test_short_forms_stand_for_sections(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP)
    shop = load_declaration(path)
    assert shop.request_id is not None and shop.request_id.columns == ("session",)
    assert shop.tables["items"].features["brand"].type == "string"
    assert shop.entity_of("items") == "item"
    count = shop.features["item_clicks"].count
    assert count is not None and (count.per, count.lag) == (("item_id",), 3600)
    assert shop.record_kinds == ("row", "request")


@pytest.mark.parametrize(
    ("key", "value", "named", "message"),
    [
        ("features.price.typ", "float", "features.price.typ", "did you mean 'type'?"),
        ("features.price.type", "flot", "features.price.type", "did you mean 'float'?"),
        ("tables.items.fetures", {}, "tables.items.fetures", "did you mean 'features'?"),
        ("timestmp", "at", "timestmp", "did you mean 'timestamp'?"),
        ("timestamp.timezone", "Europe/Bern", "timestamp.timezone", "a time zone such as"),
        ("label.at_least", 3, "label", "received positive and at_least"),
        ("label", None, "label", "a column of the log"),
        ("item_id", None, "item_id", "a column of the log"),
        ("list_size", None, "list_size", "the most candidates of a request"),
        ("features.price.entity", None, "features.price.entity", "user, item or context"),
        ("features.label", "float", "features.label", "rename the feature"),
        ("features.user_id", {"entity": "user"}, "features.user_id", "leave it out"),
        ("features.hour.encoding", None, "features.hour.encoding", "hour_of_day"),
        ("features.clicked.history.where", "label = 1", "features.clicked.history.where", "label == 1"),
        ("features.item_clicks.count.lag", "1x", "features.item_clicks.count.lag", "a duration such as"),
        ("features.price.list", 3, "features.price", "a column and a feature that fit"),
        ("features.price.pooling", "max", "features.price.pooling", "add list"),
        ("features.clicked.entity", "user", "features.clicked.entity", "as history says it"),
        ("tables.items.features.price", "float", "features", "'price' twice"),
        ("tables.articles", {"files": "a.csv", "key": "id", "features": {}}, "tables.articles.entity", "user or item"),
        ("splits.shares", [0.5, 0.1, 0.1], "splits.shares", "add up to 1"),
        ("splits.by", "column", "splits", "values of eval and test"),
        ("timestamp", None, "splits.by", "declare timestamp"),
        ("csv", {"header": False}, "csv.columns", "names of the columns"),
        ("candidates", {"items": "shown", "clicked": "clicks"}, "item_id", "as there are candidates"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(key: str, value: Any, named: str, message: str) -> None:
    values = yaml.safe_load(SHOP)
    section = copy.deepcopy(values)
    *parents, leaf = key.split(".")
    place = section
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is None:
        del place[leaf]
    else:
        place[leaf] = value
    with pytest.raises(InputError) as error:
        parse_declaration(section, "shop.yaml")
    assert f"shop.yaml, key '{named}" in error.value.where
    assert message in str(error.value)


@pytest.mark.parametrize("kind", ["list", "sequence", "vector"])
@pytest.mark.parametrize("of_table", [False, True])
@pytest.mark.parametrize(
    ("derived", "key"),
    [
        ({"history": {"of": "tags"}}, "history.of"),
        ({"history": {"of": "item_id", "per": "tags"}}, "history.per"),
        ({"count": {"per": ["item_id", "tags"]}}, "count.per"),
    ],
)
def test_histories_and_counts_are_of_features_of_one_value(
    derived: dict[str, Any], key: str, of_table: bool, kind: str
) -> None:
    values = yaml.safe_load(SHOP)
    section = values["tables"]["items"]["features"] if of_table else values["features"]
    section["tags"] = {kind: 3} if of_table else {kind: 3, "entity": "item"}
    values["features"]["clicked_tags"] = derived
    with pytest.raises(InputError) as error:
        parse_declaration(values, "shop.yaml")
    assert error.value.where == f"shop.yaml, key 'features.clicked_tags.{key}'"
    assert error.value.received == f"'tags', a feature with {kind}"
    assert (error.value.expected, "of one value" in error.value.fix) == ("a column of one value", True)


def test_a_history_is_not_of_another_history() -> None:
    values = yaml.safe_load(SHOP)
    values["features"]["again"] = {"history": {"of": "clicked"}}
    with pytest.raises(InputError, match="'features.again.history.of': received 'clicked', a feature with history"):
        parse_declaration(values, "shop.yaml")


def test_a_misspelled_key_is_named_rather_than_the_missing_one() -> None:
    with pytest.raises(InputError, match=r"'fils': received an unknown key.*did you mean 'files'"):
        parse_declaration({"name": "shop", "fils": "log.csv", "item_id": "item", "label": "clicked"})


def test_missing_files_and_other_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_declaration(tmp_path / "shop.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(InputError, match="expected a YAML mapping"):
        load_declaration(tmp_path / "list.yaml")


def test_conditions_are_comparisons_joined_by_and() -> None:
    assert parse_condition("label == 1 and event in [click, 'add to cart']") == (
        Comparison("label", "==", (1.0,)),
        Comparison("event", "in", ("click", "add to cart")),
    )
    assert parse_condition("`the price`>=9.5") == (Comparison("the price", ">=", (9.5,)),)


@pytest.mark.parametrize(
    "text",
    ["", "label", "label = 1", "label == 1 and", "label == 1 or x == 2", "x in [1", "x in []", "__import__('os')"],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="comparisons joined by"):
        parse_condition(text)
