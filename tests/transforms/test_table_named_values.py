"""Values that a declaration names and no record has: refused where all of a key are such, else noticed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transforms.arrow import pa
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.records import warnings_of
from transforms.sources.table.formats import RawRows
from transforms.sources.table.load import load_declaration, parse_declaration
from transforms.sources.table.named_values import absences, occurring
from transforms.sources.table.source import TableSource

LOG = """\
name: shop
files: log.csv
item_id: item
label: {column: event, positive: [click, buy]}
splits: {by: column, column: day, values: {eval: 6, test: [7, 8]}}
"""


def _rows(**columns: list[Any]) -> RawRows:
    table = pa.table(columns)
    return RawRows(table, np.arange(table.num_rows), str)


def test_values_occur_as_labels_and_splits_compare_them(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(LOG)
    log = load_declaration(tmp_path / "shop.yaml")
    rows = pa.table({"label": [1.0, 0]})
    first = occurring(_rows(event=["click ", None], day=["6.0", "5"]), rows, log)
    assert first == {("label.positive", "click"), ("splits.values.eval", 6)}
    assert occurring(_rows(day=[8, 1]), rows, log, first) == first | {("splits.values.test", 8)}
    assert dict(absences(first | {("splits.values.test", 8)}, log)) == {
        "notice": "splits.values.test: column 'day' has no 7"
    }
    assert list(absences(first | {("splits.values.test", 7), ("splits.values.test", 8)}, log)) == [
        ("notice", "label.positive: column 'event' has no 'buy'")
    ]


def test_texts_of_conditions_and_clicks_of_what_was_not_shown_are_noticed() -> None:
    count = {"per": "item_id", "where": "event in [buy, clik] and place == '' and label == 1"}
    log = parse_declaration(
        {"name": "shop", "files": "log.csv", "item_id": "item", "timestamp": "at", "label": "y", "exposed": "seen"}
        | {"request_id": "visit", "list_size": 9, "features": {"bought": {"count": count}}}
    )
    rows = pa.table({"label": [1.0, 0], "exposed": [1, 0]})
    seen = occurring(_rows(event=["buy", "x"]), rows, log)
    assert seen == {(f"where: {count['where']}", "buy")}
    assert list(absences(seen, log)) == [("notice", f"where: {count['where']}: column 'event' has no 'clik'")]
    kinds = [kind for kind, _ in absences(occurring(_rows(), pa.table({"label": [1.0], "exposed": [0]}), log), log)]
    assert kinds == ["notice", "notice"]


@pytest.mark.parametrize(("key", "received"), [("label.positive", "'clik', 'by'"), ("splits.values.eval", "6")])
def test_a_key_none_of_whose_values_occurs_is_refused(key: str, received: str) -> None:
    columns = {"name": "shop", "files": "log.csv", "item_id": "item", "timestamp": "at"}
    label: dict[str, Any] = {"column": "event"}
    splits: Any = {"by": "column", "column": "day", "values": {"eval": 6}}
    if key == "label.positive":
        label, splits = label | {"positive": ["clik", "by"]}, "time"
    ((kind, error),) = absences((), parse_declaration(columns | {"label": label, "splits": splits}))
    assert kind == "error" and isinstance(error, InputError)
    assert (error.where, str(error.received).startswith(f"{received}, which column")) == (f"shop, {key}", True)


def test_the_import_notices_values_that_do_not_occur(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(LOG)
    (tmp_path / "log.csv").write_text("item,event,day\na,click,5\nb,view,5\na,click,6\nb,view,7\n")
    dataset = import_dataset(TableSource(load_declaration(tmp_path / "shop.yaml")), tmp_path, tmp_path / "data")
    notices = ["label.positive: column 'event' has no 'buy'", "splits.values.test: column 'day' has no 8"]
    assert dataset.notes == {"notices": notices}
    assert warnings_of(dataset, lambda record, split: None)[:2] == notices
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"dataset.json", "row"}
