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
        ("features.price.list", 3, "features.price.type", "one of string, int, bool for a list"),
        ("features.price.pooling", "max", "features.price.pooling", "add list"),
        ("features.clicked.entity", "user", "features.clicked.entity", "as history says it"),
        ("tables.items.features.price", "float", "features", "'price' twice"),
        ("tables.articles", {"files": "a.csv", "key": "id", "features": {}}, "tables.articles.entity", "user or item"),
        ("splits.shares", [0.5, 0.1, 0.1], "splits.shares", "add up to 1"),
        ("splits.by", "column", "splits", "values of eval and test"),
        ("timestamp", None, "splits.by", "declare timestamp"),
        ("csv", {"header": False}, "csv.columns", "names of the columns"),
        ("candidates", {"items": "shown", "clicked": "clicks"}, "item_id", "as there are candidates"),
        ("item_id", 3, "item_id", "put it in quotes"),
        ("features.price.encoding", "zcore", "features.price.encoding", "did you mean 'zscore'?"),
        ("features.price.vector", True, "features.price.vector", "a whole number"),
        ("features.price.min", True, "features.price.min", "a number"),
        ("csv", {"delimiter": "tab"}, "csv.delimiter", "one character"),
        ("tables", {"files": "items.csv", "key": "id", "features": {"price": "float"}}, "tables.files", "a mapping"),
        ("name", "My Shop", "name", "small letters, digits and underscores"),
        ("features.class", "float", "features.class", "a name that is no word of a program"),
        ("timestamp", {"column": "at", "format": "%Y %Y"}, "timestamp.format", "a pattern of strptime with a year"),
        ("timestamp", {"column": "at", "format": "%H:%M"}, "timestamp.format", "a pattern of strptime with a year"),
        ("timestamp.format", "%d.%m.%Y", "timestamp", "received unit and format"),
        ("csv", {"columns": ["a", "b"]}, "csv.columns", "set header: false"),
        ("csv", {"delimiter": ";", "quote": ";"}, "csv.delimiter", "a mark that is not the quote"),
        ("request_id", {}, "request_id", "columns of the log, a window, or both"),
        ("request_id", {"window": "0s"}, "request_id.window", "1 or more"),
        ("user_id", ["customer", "customer"], "user_id", "'customer' twice"),
        ("weight", {"column": "w", "missing": -1}, "weight.missing", "'refused' or 0.0 or more"),
        ("tables.items.key", ["shop", "article"], "tables.items.key", "1, as item_id is made of them"),
        ("vocabularies", {"brand": {"hash_buckets": 9, "top_k": 5}}, "vocabularies.brand", "top_k and hash_buckets"),
        ("vocabularies", {"hour": {"top_k": 5}}, "vocabularies.hour", "no feature of it"),
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


@pytest.mark.parametrize(
    ("feature", "key", "message"),
    [
        ({"entity": "item", "unit": "ms"}, "unit", "unit only beside type: date or datetime"),
        ({"type": "float", "entity": "item", "format": "%Y"}, "format", "format only beside type: date"),
        ({"type": "date", "entity": "item", "min": 3}, "min", "min only beside type: int or float"),
        ({"type": "float", "entity": "item", "num_buckets": 5}, "num_buckets", "add encoding: quantile"),
        ({"type": "float", "entity": "item", "vocabulary": "item_id"}, "vocabulary", "add encoding: id"),
        ({"entity": "item", "separator": "|"}, "separator", "a feature of several values"),
        ({"entity": "user", "separator": "|"}, "separator", "separator only beside list, sequence or vector"),
        ({"type": "float", "encoding": "hour_of_day", "entity": "item"}, "type", "set type: datetime"),
        ({"type": "string", "vector": 3, "entity": "item"}, "type", "one of float, int for a vector"),
        ({"column": "x_*", "entity": "item"}, "column", "add vector, the number of these columns"),
        ({"entity": "item", "missing": [None]}, "missing.0", "received null; expected true or false or a whole"),
        ({"column": "at", "encoding": "hour_of_day", "missing": [3]}, "missing", "as it reads the time of the event"),
        ({"column": "at", "encoding": "hour_of_day", "entity": "user"}, "entity", "as it reads the time of the event"),
        ({"count": {"per": "x"}}, "count.per", "'x', a feature with count"),
        ({"count": {"per": "item_clicks"}}, "count.per", "'item_clicks', a feature with count"),
        ({"history": {"of": "item_clicks"}}, "history.of", "'item_clicks', a feature with count"),
        ({"history": {"of": "price"}}, "history.of", "a feature of type float"),
        ({"count": {"per": ["item_id", "price"]}}, "count.per", "a feature of type float"),
        ({"count": {"per": ["item_id", "hour"]}}, "count.per", "reads the time of the event"),
        ({"count": {"per": ["item_id", "at"]}}, "count.per", "the column of the timestamp"),
        ({"count": {"per": ["item_id", "event"]}}, "count.per", "the column of the label"),
        ({"count": {"per": ["item_id", "item_id"]}}, "count.per", "'item_id' twice"),
        ({"count": {"per": "item_id", "lag": "1h", "within": "1h"}}, "count.within", "more than the lag of 3600s"),
        ({"count": {"per": "item_id", "within": "0s"}}, "count.within", "1 or more"),
        ({"count": {"per": "item_id"}, "missing": [3]}, "missing", "add column, or leave missing out"),
        ({"count": {"per": "item_id", "where": "label == click"}}, "count.where", "label means the role"),
        ({"count": {"per": "item_id", "where": "label >= 4"}}, "count.where", "a number from 0 to 1"),
        ({"history": {"of": "item_id", "where": "event > 'a'"}}, "history.where", "compare texts by ==, != or in"),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(feature: dict[str, Any], key: str, message: str) -> None:
    values = yaml.safe_load(SHOP)
    values["features"]["x"] = feature
    with pytest.raises(InputError) as error:
        parse_declaration(values, "shop.yaml")
    assert error.value.where == f"shop.yaml, key 'features.x.{key}'"
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("splits", "key", "message"),
    [
        ({"by": "random", "dates": {"eval": "2026-01-01"}}, "splits.dates", "it only for time"),
        ({"by": "files", "values": {"test": "b.csv"}, "shares": [0.5, 0.5, 0]}, "splits.shares", "only for time, user"),
        ({"by": "time", "column": "day"}, "splits.column", "it only for column"),
        ({"by": "user", "values": {"test": [1]}}, "splits.values", "it only for column, files"),
        ({"seed": 3}, "splits.seed", "it only for user, random"),
        ({"shares": [0.5, 0.5, 0], "dates": {"eval": "2026-01-01", "test": "2026-01-02"}}, "splits", "shares and"),
        ({"dates": {"eval": "2026-01-01"}}, "splits.dates.test", "when it begins"),
        ({"dates": {"eval": "2026-01-02", "test": "2026-01-01"}}, "splits.dates.test", "a time after 2026-01-02"),
        ({"dates": {"eval": "1.1.2026", "test": "2026-01-02"}}, "splits.dates.eval", "such as 2026-01-31"),
        ({"by": "column", "column": "day", "values": {"eval": [6], "test": [7, 6]}}, "splits.values.test", "6, which"),
    ],
)  # fmt: skip
def test_splits_take_only_the_keys_of_their_way(splits: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_declaration(yaml.safe_load(SHOP) | {"splits": splits}, "shop.yaml")
    assert error.value.where == f"shop.yaml, key '{key}'"
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("candidates", "key", "message"),
    [
        ({"items": "pool", "clicked": "pool"}, ".clicked", "another column than that of items"),
        ({"items": "pool", "clicked": "shown", "shown": "shown"}, ".clicked", "another column than that of shown"),
        ({"items": "pool", "separator": "-", "label_after": "-"}, ".label_after", "another mark than the separator"),
        ({"items": "pool", "clicked": "clicks", "missing": "negative"}, ".missing", "it belongs to labels"),
    ],
)
def test_candidates_that_contradict_themselves_are_refused(candidates: Any, key: str, message: str) -> None:
    log = {"name": "shop", "files": "a.csv", "timestamp": "at", "list_size": 9, "candidates": candidates}
    with pytest.raises(InputError) as error:
        parse_declaration(log, "shop.yaml")
    assert error.value.where == f"shop.yaml, key 'candidates{key}'"
    assert message in str(error.value)


def test_a_column_of_a_table_may_have_the_name_of_the_timestamp() -> None:
    values = yaml.safe_load(SHOP)
    values["tables"]["items"]["features"]["listed"] = {"type": "date", "column": "at"}
    assert not parse_declaration(values).is_of_event("listed")


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
    (tmp_path / "tab.yaml").write_text("name: shop\nfeatures:\n\tprice: float\n")
    with pytest.raises(InputError, match=r"line 3, column 1: found character '\\t' that cannot start any token"):
        load_declaration(tmp_path / "tab.yaml")
    (tmp_path / "twice.yaml").write_text(SHOP + "label: clicked\n")
    with pytest.raises(InputError, match=r"the key 'label' twice, in lines 8 and 20"):
        load_declaration(tmp_path / "twice.yaml")


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
    with pytest.raises(InputError, match="compare with '' for a missing value"):
        parse_condition("x != null")
    with pytest.raises(InputError, match="comparisons joined by"):
        parse_condition(text)
