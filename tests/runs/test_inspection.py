"""`consort data inspect`: roles and types of logs that nobody has declared, and questions where they do not show."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runs.inspection.inspect import Inspection, inspect_files
from runs.inspection.profile import dependence, profile
from transforms.arrow import pa, pq
from transforms.errors import InputError
from transforms.sources.table.load import parse_declaration

ROWS, USERS, ITEMS = 1500, 60, 40
START = 1_767_225_600


def log() -> dict[str, Any]:
    """A small log with known roles: who, what, when, clicked, and values of each."""
    rng = np.random.default_rng(5)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    clicked = (rng.random(ROWS) < 0.1 + 0.3 * (item % 3 == 0)).astype(int)
    return {
        "user": user,
        "item": item,
        "time": START + np.sort(rng.integers(0, 10 * 86400, ROWS)),
        "clicked": clicked,
        "age": (20 + rng.integers(0, 50, USERS))[user],
        "category": np.array([f"c{k}" for k in rng.integers(0, 9, ITEMS)])[item],
        "price": np.round(rng.lognormal(3, 1, ITEMS), 2)[item],
        "tags": np.array(["red|new", "blue|eco|new", "red", "eco|kids"])[rng.integers(0, 4, ITEMS)][item],
        "screen": rng.choice(["phone", "desktop"], ROWS),
        "dwell": np.where(clicked == 1, rng.integers(5, 300, ROWS), -1),
    }


def read(inspection: Inspection) -> dict[str, Any]:
    """The written declaration, which is valid once its questions are answered."""
    values: dict[str, Any] = yaml.safe_load(inspection.text)
    if not any(question.startswith("label: which column") for question in inspection.questions):
        parse_declaration({**values, "questions": []})
    return values


def write_csv(path: Path, columns: dict[str, Any], delimiter: str = ",") -> None:
    lines = [delimiter.join(columns), *(delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")


def test_a_csv_with_its_own_names_dates_and_delimiter(tmp_path: Path) -> None:
    rows = log()
    write_csv(
        tmp_path / "clicks.csv",
        {
            "CustomerNo": [f"C{k}" for k in rows["user"]],
            "ArticleNo": [f"A{k}" for k in rows["item"]],
            "When": [datetime.fromtimestamp(t, UTC).strftime("%d.%m.%Y %H:%M:%S") for t in rows["time"]],
            "Screen": rows["screen"],
            "Age": rows["age"],
            "Category": rows["category"],
            "Price": rows["price"],
            "Tags": rows["tags"],
            "Clicked": rows["clicked"],
            "DwellSeconds": [value if value >= 0 else "" for value in rows["dwell"]],
            "Shop": ["main"] * ROWS,
        },
        ";",
    )
    inspection = inspect_files([str(tmp_path / "clicks.csv")], "shop", tmp_path)
    values = read(inspection)
    assert values["files"] == "clicks.csv" and values["csv"] == {"delimiter": ";"}
    assert (values["user_id"], values["item_id"], values["label"]) == ("CustomerNo", "ArticleNo", "Clicked")
    assert values["timestamp"] == {"column": "When", "format": "%d.%m.%Y %H:%M:%S"}
    features = values["features"]
    assert features["Screen"] == {"type": "string", "entity": "context"}
    assert features["Age"] == {"type": "int", "entity": "user"}
    assert features["Category"] == {"type": "string", "entity": "item"}
    assert features["Price"] == {"type": "float", "entity": "item"}
    assert features["Tags"] == {"type": "string", "list": 3, "separator": "|", "entity": "item"}
    assert features["DwellSeconds"]["input"] is False
    assert "Shop" not in features and "Shop: left out" in inspection.text
    assert not inspection.questions


def test_parquet_with_integer_ids_milliseconds_vectors_lists_and_requests(tmp_path: Path) -> None:
    rng, requests = np.random.default_rng(2), 150
    user = np.repeat(rng.integers(0, USERS, requests), 8) + 10**12
    item = np.concatenate([rng.choice(ITEMS, 8, replace=False) for _ in range(requests)])
    vectors = rng.normal(0, 1, (ITEMS, 6)).astype(np.float32)
    table = pa.table(
        {
            "viewer": pa.array(user),
            "video": pa.array(item),
            "ts": pa.array((START + np.repeat(np.arange(requests) * 60, 8)) * 1000),
            "is_click": pa.array(rng.integers(0, 2, requests * 8).astype(np.int8)),
            "slot": pa.array(np.tile(np.arange(1, 9), requests)),
            "request_id": pa.array(np.repeat(np.arange(requests), 8)),
            "embedding": pa.array([vectors[k].tolist() for k in item]),
            "topics": pa.array([[f"t{k % 5}", f"t{k % 7}"] for k in item]),
        }
    )
    pq.write_table(table, tmp_path / "views.parquet")
    values = read(inspect_files([str(tmp_path / "views.parquet")], "views", tmp_path))
    assert (values["user_id"], values["item_id"], values["label"]) == ("viewer", "video", "is_click")
    assert values["timestamp"] == {"column": "ts", "unit": "ms"}
    assert (values["request_id"], values["list_size"], values["position"]) == ("request_id", 8, "slot")
    assert values["features"]["embedding"] == {"vector": 6, "entity": "item"}
    assert values["features"]["topics"] == {"type": "string", "list": 2, "entity": "item"}


def test_requests_with_candidate_lists_and_two_tables(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    records = []
    for request in range(200):
        shown = [f"p{k}" for k in rng.choice(ITEMS, 6, replace=False)]
        at = datetime.fromtimestamp(START + 60 * request, UTC).isoformat()
        records.append({"member_id": f"m{rng.integers(USERS)}", "logged_at": at, "page": str(rng.choice(["a", "b"])),
                        "candidates": shown, "clicked": shown[: rng.integers(0, 2)]})  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)))
    write_csv(tmp_path / "products.csv", {"product_id": [f"p{k}" for k in range(ITEMS)], "price": list(range(ITEMS)),
                                          "title": [f"A title {k}" for k in range(ITEMS)]})  # fmt: skip
    write_csv(tmp_path / "members.csv", {"member_id": [f"m{k}" for k in range(USERS)], "country": ["DE", "FR"] * 30})
    files = [str(tmp_path / name) for name in ("log.jsonl", "products.csv", "members.csv")]
    values = read(inspect_files(files, "shop", tmp_path))
    assert values["candidates"] == {"items": "candidates", "clicked": "clicked"}
    assert (values["user_id"], values["timestamp"], values["list_size"]) == ("member_id", "logged_at", 6)
    assert values["features"]["page"] == {"type": "string", "entity": "context"}
    assert values["tables"]["items"] == {
        "files": "products.csv", "key": "product_id", "features": {"price": {"type": "int"}},
    }  # fmt: skip
    assert values["tables"]["users"]["features"] == {"country": {"type": "string"}}


def test_files_without_a_header_whose_candidates_carry_their_labels(tmp_path: Path) -> None:
    rng, lines = np.random.default_rng(6), []
    for request in range(300):
        at = datetime.fromtimestamp(START + 977 * request, UTC).strftime("%m/%d/%Y %I:%M:%S %p")
        history = " ".join(f"N{k}" for k in rng.integers(0, ITEMS, 12))
        shown = " ".join(f"N{k}-{int(rng.random() < 0.2)}" for k in rng.choice(ITEMS, 5, replace=False))
        lines.append(f"{request + 1}\tU{rng.integers(USERS)}\t{at}\t{history}\t{shown}")
    (tmp_path / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    inspection = inspect_files([str(tmp_path / "behaviors.tsv")], "news", tmp_path)
    values = read(inspection)
    assert values["csv"] == {"header": False, "columns": ["c0", "c1", "c2", "c3", "c4"]}
    assert values["candidates"] == {"items": "c4", "label_after": "-", "separator": " "}
    assert values["timestamp"] == {"column": "c2", "format": "%m/%d/%Y %I:%M:%S %p"}
    assert values["features"]["c3"]["vocabulary"] == "item_id" and values["features"]["c3"]["sequence"] == 12
    # No name says who the user is.
    assert any(question.startswith("user_id:") for question in values["questions"])


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({"clicked": lambda rows: rows["item"] % 5 + 1, "rename": ("clicked", "rating")}, "label: from which rating"),
        ({"rename": ("clicked", "flag_a"), "flag_b": lambda rows: 1 - rows["clicked"]}, "label: which column"),
        ({"rename": ("time", "stock")}, "timestamp: no column"),
        ({"rename": ("item", "thing")}, "item_id: which column"),
        (
            {"time": lambda rows: [f"0{1 + t % 3}/05/2026" for t in rows["time"]]},
            "timestamp: all values",
        ),
    ],
)  # fmt: skip
def test_what_does_not_show_is_asked(tmp_path: Path, changed: dict[str, Any], asked: str) -> None:
    rows = {f"{name}_id" if name in ("user", "item") else name: values for name, values in log().items()}
    old, new = changed.pop("rename", ("", ""))
    for name, make in changed.items():
        rows[name] = make(log())
    rows = {new if name.removesuffix("_id") == old else name: values for name, values in rows.items()}
    if new == "stock":
        rows["stock"] = np.arange(ROWS) % 50
    write_csv(tmp_path / "log.csv", rows)
    questions = read(inspect_files([str(tmp_path / "log.csv")], "log", tmp_path))["questions"]
    assert any(question.startswith(asked) for question in questions), questions


def test_a_label_written_as_events(tmp_path: Path) -> None:
    rows = log()
    columns = {"user_id": rows["user"], "item_id": rows["item"], "time": rows["time"]}
    write_csv(tmp_path / "log.csv", columns | {"event": np.where(rows["clicked"] == 1, "click", "impression")})
    values = read(inspect_files([str(tmp_path / "log.csv")], "log", tmp_path))
    assert values["label"] == {"column": "event", "positive": ["click"]}


def test_numbered_columns_are_one_vector(tmp_path: Path) -> None:
    rows, rng = log(), np.random.default_rng(1)
    columns = {"user_id": rows["user"], "item_id": rows["item"], "time": rows["time"], "click": rows["clicked"]}
    vectors = rng.normal(0, 1, (ITEMS, 9))
    columns |= {f"emb_{k}": vectors[rows["item"], k] for k in range(9)}
    write_csv(tmp_path / "log.csv", columns)
    values = read(inspect_files([str(tmp_path / "log.csv")], "log", tmp_path))
    assert values["features"]["emb"] == {"vector": 9, "column": "emb_*", "entity": "item"}


def test_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        inspect_files([str(tmp_path / "log.csv")], "log", tmp_path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda keys, rng: keys % 7, 1.0),
        (lambda keys, rng: rng.integers(0, 7, len(keys)), 0.0),
    ],
)
def test_dependence_is_one_where_a_key_determines_a_value_and_nothing_by_chance(
    make: Callable[[np.ndarray, np.random.Generator], np.ndarray], expected: float
) -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 200, 3000)
    assert dependence(make(keys, rng), keys) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("values", "kind", "unit"),
    [
        (["1", "2", "", "3"], "int", None),
        (["1.5", "2", None], "float", None),
        (["007", "012"], "string", None),
        (["true", "False"], "bool", None),
        (["2026-01-01", "2026-01-02"], "date", None),
        (["2026-01-01T10:00:00Z", "2026-01-02 11:00:00Z"], "datetime", None),
        ([START, START + 5], "int", "s"),
        ([START * 10**6, START * 10**6 + 5], "int", "us"),
        ([1, 2**40], "int", None),
        (["a|b", "b", "a|c", "b|c"], "list", None),
        (["Toy Story (1995)", "Heat (1995)"], "string", None),
        ([[1, 2], [3]], "list", None),
        ([None, None], "empty", None),
    ],
)
def test_the_type_of_a_column(values: list[Any], kind: str, unit: str | None) -> None:
    column = profile("column", pa.chunked_array([pa.array(values)]))
    assert (column.kind, column.unit) == (kind, unit)


def test_members_of_objects_pools_scores_and_tables_that_hold_from_a_time_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    records = []
    for request in range(250):
        pool = [f"p{k}" for k in rng.choice(ITEMS, 9, replace=False)]
        shown = pool[:4]
        records.append({"who": {"id": f"U{rng.integers(USERS)}", "os": str(rng.choice(["ios", "web"]))},
                        "at": (START + 60 * request) * 1000, "pool": pool, "shown": shown,
                        "clicked": shown[: rng.integers(0, 2)],
                        "pre_score": [k / 7 + 1 for k in range(9)]})  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)))
    write_csv(tmp_path / "items.csv", {"item": [f"p{k % ITEMS}" for k in range(2 * ITEMS)],
                                       "valid_from": ["2025-01-01"] * ITEMS + ["2026-01-02"] * ITEMS,
                                       "color": ["red", "blue", "green", "red"] * (ITEMS // 2)})  # fmt: skip
    values = read(inspect_files([str(tmp_path / "log.jsonl"), str(tmp_path / "items.csv")], "shop", tmp_path))
    assert values["user_id"] == "who.id"
    assert values["candidates"] == {"items": "pool", "clicked": "clicked", "shown": "shown"}
    assert values["features"]["pre_score"] == {"type": "float", "entity": "item"}
    assert values["tables"]["items"] == {
        "files": "items.csv", "key": "item", "timestamp": "valid_from", "features": {"color": {"type": "string"}},
    }  # fmt: skip


def test_lists_of_one_size_and_decimal_commas(tmp_path: Path) -> None:
    fixed = profile("v", pa.chunked_array([pa.array([[1.0, 2.0, 3.0, 4.0]] * 3, pa.list_(pa.float32(), 4))]))
    assert fixed.kind == "list" and fixed.lists is not None and fixed.lists.width == 4
    rows = log()
    columns = {"user_id": rows["user"], "item_id": rows["item"], "time": rows["time"], "click": rows["clicked"]}
    write_csv(tmp_path / "log.csv", columns | {"price": [f"{p:.2f}".replace(".", ",") for p in rows["price"]]}, ";")
    values = read(inspect_files([str(tmp_path / "log.csv")], "log", tmp_path))
    assert values["csv"] == {"delimiter": ";", "decimal": ","}
    assert values["features"]["price"] == {"type": "float", "entity": "item"}


def test_files_of_a_log_may_differ_in_columns_and_types(tmp_path: Path) -> None:
    plain = pa.table({name: pa.array(values) for name, values in log().items()}).to_pylist()
    half = len(plain) // 2
    # Later files have one more column, whole prices as integers, users as texts, and lists for single values.
    late = [
        {**row, "coupon": f"k{place % 4}", "price": int(row["price"]), "user": str(row["user"]), "tags": [row["tags"]]}
        for place, row in enumerate(plain[half:])
    ]
    pq.write_table(pa.Table.from_pylist(plain[:half]), tmp_path / "1.parquet")
    pq.write_table(pa.Table.from_pylist(late), tmp_path / "2.parquet")
    inspection = inspect_files([str(tmp_path / "*.parquet")], "shop", tmp_path)
    declaration = read(inspection)
    assert declaration["files"] == "*.parquet" and "tables" not in declaration
    assert (declaration["user_id"], declaration["item_id"]) == ("user", "item")
    assert declaration["features"]["price"]["type"] == "float"
    assert "coupon" in declaration["features"] and "tags" not in declaration["features"]
    assert "# user: int64 in some files, string in others; read as text" in inspection.text
    assert "# tags: string in some files, list<item: string> in others; left out" in inspection.text
