"""Records of a log become rows: roles, candidates, features, conditions, order and splits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from transforms.arrow import pa, pq
from transforms.errors import InputError
from transforms.sources.point_in_time.splits import ByHash
from transforms.sources.table.files import chunks_of, find_files
from transforms.sources.table.first_look import check
from transforms.sources.table.load import parse_declaration
from transforms.sources.table.read import plan_of, read_chunk
from transforms.sources.table.schema import feature_set_of

NEW_YEAR = 1_767_225_600


def rows_of(folder: Path, declaration: str, records: list[dict[str, Any]], table: str | None = None) -> dict[str, Any]:
    """The rows of a log in JSON Lines, by column."""
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    log = parse_declaration({"name": "shop", "files": "log.jsonl"} | yaml.safe_load(declaration))
    check(log, folder)
    part = log if table is None else log.tables[table]
    (chunk,) = chunks_of(find_files(part, folder)[0], part.csv)
    (rows,) = read_chunk(chunk, log, table)
    columns: dict[str, Any] = rows.to_pydict()
    return columns


REQUESTS = """
user_id: user
timestamp: at
list_size: 4
candidates: {items: pool, clicked: clicks, shown: shown, stage: stages, position: places}
features:
  score: {type: float, entity: item, column: scores}
  tags: {entity: item, list: 2, column: labels}
  device: {entity: context}
  clicked: {history: {of: item_id, where: label == 1 and exposed == 1}}
"""
POOLS: list[dict[str, Any]] = [
    {
        "user": 1, "at": NEW_YEAR, "device": "tv", "pool": ["a", "b", "c"], "clicks": ["b"], "shown": ["a", "b"],
        "stages": [2, 2, 1], "places": [1, 2, 0], "scores": [0.5, 0.25, None], "labels": [["x"], [], ["x", "y", "z"]],
    },
    {
        "user": 2, "at": NEW_YEAR + 1, "device": None, "pool": [], "clicks": [], "shown": [],
        "stages": [], "places": [], "scores": [], "labels": [],
    },
    {
        "user": 1, "at": NEW_YEAR + 2, "device": "phone", "pool": ["b"], "clicks": [], "shown": ["b"],
        "stages": [2], "places": [1], "scores": [1], "labels": [None],
    },
]  # fmt: skip


def test_each_candidate_of_a_record_is_a_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, REQUESTS, POOLS)
    assert rows["item_id"] == ["a", "b", "c", "b"]
    assert rows["label"] == [0, 1, 0, 0]
    assert rows["exposed"] == [1, 1, 0, 1]
    assert (rows["stage"], rows["position"]) == ([2, 2, 1, 2], [1, 2, 0, 1])
    assert rows["user_id"] == ["1", "1", "1", "1"]
    assert rows["device"] == ["tv", "tv", "tv", "phone"]
    assert rows["tags"] == [["x"], [], ["x", "y"], []]
    np.testing.assert_array_equal(rows["score"], [0.5, 0.25, np.nan, 1])
    assert rows["_where_0"] == [False, True, False, False]
    assert len(set(rows["request_id"])) == 2 and rows["request_id"][0] == rows["request_id"][2]
    assert rows["_row"] == sorted(set(rows["_row"]))


def test_a_list_that_a_record_lacks_is_missing_for_all_its_candidates(tmp_path: Path) -> None:
    without = {name: value for name, value in POOLS[2].items() if name not in ("scores", "labels")}
    rows = rows_of(tmp_path, REQUESTS, [POOLS[0], without, POOLS[2]])
    np.testing.assert_array_equal(rows["score"], [0.5, 0.25, np.nan, np.nan, 1])
    assert rows["tags"] == [["x"], [], ["x", "y"], [], []]


GERMAN = """
csv: {delimiter: ";", decimal: ","}
item_id: item
label: {column: stars, above: 3.5}
weight: weight
records: row
features:
  price: {type: float, entity: item, missing: [-0.5]}
  size: {vector: 2, separator: "|", entity: item}
  cheap: {count: {per: item_id, where: price < 20.5}}
timestamp: at
"""


def test_numbers_of_csv_files_may_have_a_decimal_comma(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "item;at;stars;weight;price;size\n1.5;1767225600;3,6;0,5;1.234,56;1,5|2\nb;1767225601;3,5;2;-0,5;0,25|,5\n"
    )
    log = parse_declaration({"name": "shop", "files": "log.csv"} | yaml.safe_load(GERMAN))
    (chunk,) = chunks_of(find_files(log, tmp_path)[0], log.csv)
    (table,) = read_chunk(chunk, log)
    rows = table.to_pydict()
    assert (rows["item_id"], rows["label"], rows["weight"]) == (["1.5", "b"], [1, 0], [0.5, 2])
    np.testing.assert_array_equal(rows["price"], np.asarray([1234.56, np.nan], np.float32))
    assert rows["size"] == [[1.5, 2], [0.25, 0.5]]
    assert rows["_where_0"] == [False, True]


@pytest.mark.parametrize(
    ("values", "kind", "line", "received"),
    [
        ([["a"], ["b", "c"]], pa.list_(pa.string()), 2, "2 values"),
        ([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2), 1, "a column of type fixed_size_list"),
        ([{"name": "a"}, {"name": "b"}], None, 1, "an object of name"),
    ],
)
def test_a_history_of_a_column_of_lists_is_refused(
    tmp_path: Path, values: list[Any], kind: Any, line: int, received: str
) -> None:
    columns = {"item": ["x", "y"], "at": [NEW_YEAR, NEW_YEAR + 1], "label": [0, 1], "tags": pa.array(values, kind)}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    values_of = {"name": "shop", "files": "log.parquet", "item_id": "item", "timestamp": "at", "label": "label"}
    seen = {"seen_tags": {"history": {"of": "tags", "per": "item_id"}}}
    log = parse_declaration({**values_of, "features": seen})
    (chunk,) = chunks_of(find_files(log, tmp_path)[0], log.csv)
    with pytest.raises(InputError) as error:
        list(read_chunk(chunk, log))
    assert error.value.where == f"log.parquet, record {line}, column tags"
    assert str(error.value.received).startswith(received)
    assert error.value.fix == "name a column of one value in features.seen_tags.history.of"


def test_labels_may_be_parallel_or_behind_the_id(tmp_path: Path) -> None:
    base = "{timestamp: at, list_size: 4, candidates: %s}"
    parallel = [{"at": NEW_YEAR, "items": "a,b", "clicks": "0,1", "seen": "true,false"}]
    rows = rows_of(tmp_path, base % '{items: items, labels: clicks, exposed: seen, separator: ","}', parallel)
    assert (rows["item_id"], rows["label"], rows["exposed"]) == (["a", "b"], [0, 1], [1, 0])
    behind = [{"at": NEW_YEAR, "items": "N-1-1 N-2-0"}, {"at": NEW_YEAR, "items": ""}]
    rows = rows_of(tmp_path, base % '{items: items, separator: " ", label_after: "-"}', behind)
    assert (rows["item_id"], rows["label"]) == (["N-1", "N-2"], [1, 0])


ROWS = """
user_id: [country, user]
item_id: item
request_id: {columns: [user], window: 1m}
records: row
timestamp: {column: at, timezone: Europe/Berlin}
label: clicked
weight: w
position: {column: place, input: true}
splits: {by: column, column: day, values: {eval: [6], test: [7, 8]}}
features:
  hour: {column: at, encoding: hour_of_day}
  since: {type: date, entity: user}
  open: {type: datetime, entity: item, encoding: day_of_week}
  adult: {type: bool, entity: user}
  size: {type: int, entity: item, missing: [-9, unknown]}
  basket: {entity: user, sequence: 2, separator: " "}
  image: {entity: item, vector: 2, column: "image_*"}
  seen: {count: {per: [user_id, shelf], where: clicked == 0}}
  bought: {history: {of: shelf, where: price > 2}}
"""
ROW: dict[str, Any] = {
    "country": "de", "user": 7, "item": 12, "at": "2026-01-01 01:00", "clicked": True, "w": 0.5, "place": 3, "day": 6,
    "since": "2025-12-31", "open": "2026-01-01 00:30", "adult": "no", "size": "unknown", "basket": "a b c",
    "shelf": "s", "image_2": 0.5, "image_10": 1.5, "price": 3,
}  # fmt: skip


def test_roles_and_features_of_rows_are_in_their_types(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, ROWS, [ROW])
    row = {name: values[0] for name, values in rows.items()}
    assert row["user_id"] == "de|7" and row["item_id"] == "12"
    assert row["timestamp"] == NEW_YEAR
    assert row["request_id"] == f"7|{NEW_YEAR // 60}"
    assert (row["label"], row["weight"], row["position"], row["_split"]) == (1, 0.5, 3, "eval")
    assert row["local_time"] == NEW_YEAR + 3600, "the clock in Berlin"
    assert row["since"] == pytest.approx(1 + 1 / 24), "from midnight in Berlin to one o'clock a day later"
    assert row["open"] == NEW_YEAR + 1800, "the clock in Berlin"
    assert (row["adult"], row["size"]) == (0, -1)
    assert row["basket"] == ["b", "c"], "the last ones"
    assert row["image"] == [0.5, 1.5], "in the order of their numbers"
    assert (row["_raw_0"], row["_where_0"], row["_where_1"]) == ("s", False, True)


def test_the_columns_and_features_of_the_records_follow(tmp_path: Path) -> None:
    log = parse_declaration({"name": "shop", "files": "log.jsonl"} | yaml.safe_load(ROWS))
    features = {feature.name: feature for feature in feature_set_of(log).features}
    columns = {column.name: column for column in feature_set_of(log).columns}
    assert features["hour"].column == "local_time"
    assert features["seen"].encoding == "log_zscore" and columns["seen"].entity == "context"
    assert features["bought"].vocabulary == "bought" and columns["bought"].max_length == 50
    assert (columns["image"].width, features["image"].encoding) == (2, "vector")
    assert (columns["since"].dtype, features["since"].encoding) == ("float", "zscore")
    assert columns["position"].model_input and "position" in features
    assert columns["weight"].dtype == "float"


def test_a_condition_means_a_role_only_where_it_is_declared(tmp_path: Path) -> None:
    declaration = ROWS + "  staged: {count: {per: item_id, where: stage == late and weight > 0.4}}\n"
    rows = rows_of(tmp_path, declaration, [ROW | {"stage": "late"}, ROW | {"stage": "late", "w": 0.3}])
    assert rows["_where_2"] == [True, False], "stage is a column of the log, weight the role of the column w"


def test_tables_have_keys_times_and_features(tmp_path: Path) -> None:
    declaration = """
item_id: item
label: clicked
timestamp: at
features: {category_seen: {entity: item, column: shelf}}
tables:
  items: {files: items.jsonl, key: id, timestamp: {column: from, unit: ms}, features: {price: float, listed: date}}
"""
    items = [{"id": 12, "from": NEW_YEAR * 1000, "price": "2.5", "listed": "2025-12-31"}]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    rows = rows_of(tmp_path, declaration, [ROW], table="items")
    assert (rows["_key"], rows["timestamp"], rows["price"]) == (["12"], [NEW_YEAR], [2.5])
    assert rows["listed"] == [NEW_YEAR - 86400]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": None}, "line 1, column at: received nothing; expected a time"),
        ({"item": ""}, "column item: received nothing; expected the id of an item"),
        ({"w": -1.0}, "column w: received -1.0; expected a weight"),
        ({"w": None}, "column w: received nothing; expected a weight"),
        ({"clicked": 3}, "column clicked: received 3; expected 0 or 1"),
        ({"image_2": [1, 2]}, "2 values; expected one value"),
        ({"size": "1.5"}, "column size: received '1.5'; expected a whole number"),
        ({"at": "1.1.2026"}, "give timestamp a format"),
    ],
)
def test_a_bad_value_is_refused_with_line_and_column(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        rows_of(tmp_path, ROWS, [ROW | change])
    assert message in str(error.value) and error.value.where.startswith("log.jsonl, line 1")


@pytest.mark.parametrize(
    ("declaration", "records", "message"),
    [
        (REQUESTS, [POOLS[0] | {"scores": [1, 2]}], "2 values for 3 candidates"),
        (REQUESTS.replace("size: 4", "size: 2"), POOLS, "line 1, column pool: received 3 cand.* at most 2, list_size"),
        (ROWS.replace("type: int,", "type: int, min: 0,"), [ROW | {"size": -2}], "column size: .* within min 0"),
        (ROWS.replace("item_id: item", "item_id: itm"), [ROW], r"no column 'itm' \(item_id\).*did you mean 'item'"),
        (ROWS.replace("price > 2", "prize > 2"), [ROW], "no column 'prize'"),
        (ROWS.replace("of: shelf", "of: shlf"), [ROW], r"no column 'shlf' \(features.bought.history.of\)"),
        (ROWS.replace("vector: 2", "vector: 3"), [ROW], "features.image: received 2 columns 'image_.*expected 3"),
        (ROWS.replace("image_*", "picture_*"), [ROW], r"no columns 'picture_.' \(features.image\)"),
        (ROWS + "questions:\n- Is price an input?\n", [ROW], "'Is price an input.'; expected no question"),
    ],
)
def test_what_does_not_fit_the_files_is_refused(
    declaration: str, records: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        rows_of(tmp_path, declaration, records)


def test_splits_by_files_go_by_their_names(tmp_path: Path) -> None:
    log = parse_declaration(
        {"name": "shop", "files": "*/log.csv", "item_id": "item", "label": "y", "timestamp": "at"}
        | {"splits": {"by": "files", "values": {"test": "test/*", "eval": ["dev/*"]}}}
    )
    for folder in ("dev", "test", "train"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv").write_text(f"item,y,at\na,1,{NEW_YEAR}\n")
    tables = [row for file in find_files(log, tmp_path) for row in read_chunk(chunks_of(file, log.csv)[0], log)]
    assert pa.concat_tables(tables)["_split"].to_pylist() == ["eval", "test", "train"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"test": ["b.csv", "c*.csv"]}, "'c*.csv', which no file matches; expected a pattern of a.csv, b.csv"),
        ({"eval": "a.csv", "test": "b.csv"}, "a file that is left for train"),
    ],
)
def test_a_split_by_files_has_files_in_each_split(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"item,y,at\na,1,{NEW_YEAR}\n")
    log = {"name": "shop", "files": "*.csv", "item_id": "item", "label": "y", "timestamp": "at"}
    with pytest.raises(InputError) as error:
        check(parse_declaration(log | {"splits": {"by": "files", "values": values}}), tmp_path)
    assert message in str(error.value) and error.value.where.startswith("shop, key 'splits.values")


def test_a_weight_or_label_that_is_missing_has_the_declared_value(tmp_path: Path) -> None:
    weighted = ROWS.replace("weight: w", "weight: {column: w, missing: 2}")
    assert rows_of(tmp_path, weighted, [ROW, ROW | {"w": None}])["weight"] == [0.5, 2]
    labels = "{timestamp: at, list_size: 4, candidates: {items: pool, labels: y, weight: {column: w, missing: 1}%s}}"
    records = [{"at": NEW_YEAR, "pool": ["a", "b"], "y": [1, None], "w": [None, 3]}]
    rows = rows_of(tmp_path, labels % ", missing: negative", records)
    assert (rows["label"], rows["weight"]) == ([1, 0], [1, 3])
    with pytest.raises(InputError, match=r"column y: received nothing; .* set candidates: {missing: negative}"):
        rows_of(tmp_path, labels % "", records)


@pytest.mark.parametrize("role", ["clicked", "shown"])
def test_an_id_that_is_no_candidate_is_refused(role: str, tmp_path: Path) -> None:
    lists = {"clicked": ["a"], "shown": ["b", None, "a"]}
    declared = "{timestamp: at, list_size: 4, candidates: {items: pool, clicked: clicked, shown: shown}}"
    record = {"at": NEW_YEAR, "pool": ["a", "b"]}
    assert rows_of(tmp_path, declared, [record | lists])["label"] == [1, 0]
    with pytest.raises(InputError, match=rf"line 1, column {role}: received 'x'; expected ids of the record's cand"):
        rows_of(tmp_path, declared, [record | lists | {role: ["a", "x"]}])


KEYS = """
user_id: [cookie, country]
item_id: item
request_id: {window: 1m}
timestamp: at
label: click
list_size: 9
features:
  seen_signed: {count: {per: user_id, where: signed == true}}
"""


def test_keys_of_several_columns_are_one_only_where_all_parts_agree(tmp_path: Path) -> None:
    parts = [("a|b", "c"), ("a", "b|c"), ("a\\|b", "c"), (7.0, "x"), ("7.0", "x"), ("", "x"), (None, None)]
    records = [
        {"cookie": cookie, "country": country, "item": "3.0", "at": NEW_YEAR, "click": 0, "signed": "True"}
        for cookie, country in parts
    ]
    rows = rows_of(tmp_path, KEYS, records)
    assert rows["user_id"] == ["a\\|b|c", "a|b\\|c", "a\\\\\\|b|c", "7|x", "7|x", "", ""]
    assert set(rows["item_id"]) == {"3"}
    # Who is not known has no request in common with others.
    assert len(set(rows["request_id"])) == 6 and rows["request_id"][3] == rows["request_id"][4]


def test_a_condition_on_truth_values_holds_in_any_writing(tmp_path: Path) -> None:
    log = [{"cookie": "a", "country": "b", "item": "i", "at": NEW_YEAR, "click": 0, "signed": value}
           for value in ("True", "true", True, 1, "False", None)]  # fmt: skip
    rows = rows_of(tmp_path, KEYS, log)
    (flag,) = [name for name, values in rows.items() if values == [True, True, True, True, False, False]]
    assert flag


@pytest.mark.parametrize(
    ("declaration", "together"),
    [
        ("{user_id: user, timestamp: at, splits: random}", [0, 1, 4]),
        ("{timestamp: at, splits: random}", [0, 4, 5]),
        ("{user_id: user, timestamp: at, splits: user}", [0, 1, 2, 4]),
        ("{request_id: request, splits: random, list_size: 9}", [0, 1, 2, 4, 5]),
    ],
)
def test_random_splits_go_by_what_a_record_is_and_not_by_its_place(
    declaration: str, together: list[int], tmp_path: Path
) -> None:
    base: dict[str, Any] = {"user": "a", "item": 1, "at": NEW_YEAR, "clicked": 0, "tags": ["x", "y"], "request": "r"}
    other = {"user": "b", "item": 2, "at": NEW_YEAR + 9, "clicked": 1, "tags": ["y", "x"], "request": "q"}
    records = [base, base | {"clicked": 1}, base | {"item": 2}, other, base, base | {"user": ""}]
    features = "features: {tags: {list: 4, entity: item}}"
    text = f"{{item_id: item, label: clicked, {features}, {declaration[1:]}"
    identity = "user_id" if "splits: user" in declaration else "_identity"
    rows = rows_of(tmp_path, text, records)
    first = rows[identity][0]
    assert [row for row, value in enumerate(rows[identity]) if value == first] == together
    # The same records elsewhere in another file, where all items are texts.
    moved = rows_of(tmp_path, text, [other] * 3 + [record | {"item": str(record["item"])} for record in records])
    assert moved["_identity"][3:] == rows["_identity"]
    rule = plan_of(parse_declaration({"name": "shop", "files": "log.jsonl"} | yaml.safe_load(text)), tmp_path).split
    assert isinstance(rule, ByHash)
    splits = [rule(pa.table({**columns, "_file": [file] * len(columns["_row"])})) for file, columns in
              enumerate(({name: values[3:] for name, values in moved.items()}, rows))]  # fmt: skip
    assert splits[0].tolist() == splits[1].tolist()


def test_lists_of_other_order_are_other_records(tmp_path: Path) -> None:
    text = "{item_id: item, label: clicked, features: {tags: {list: 4, entity: item}}, splits: random}"
    tags = [["x", "y"], ["y", "x"], ["x"], [], None, ["x", "y"], ["x", "y", None]]
    rows = rows_of(tmp_path, text, [{"item": 1, "clicked": 0, "tags": some} for some in tags])["_identity"]
    assert rows[0] == rows[5] and rows[3] == rows[4] and len(set(rows)) == 5
