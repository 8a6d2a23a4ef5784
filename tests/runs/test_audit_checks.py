"""Each fault that is planted in a clean log is found, and none in the log itself."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runs.audit.audit import AuditInput, audit_of
from runs.audit.drift import profile_of
from runs.audit.faults import faults
from runs.audit.findings import CHECKS, Audit, Finding, Grade, check_keys
from runs.audit.table import Values
from tests.helpers.audited_log import DAY, FEATURES, FIRST, NOW, Log, audited, found, later, log, table, taken, y_of
from transforms.errors import InputError
from transforms.features import SPLITS, Split


def requests_stand_in_two_splits(columns: Log) -> None:
    for name in ("request_id", "user_id"):
        columns[name][4900:5400] = columns[name][100:600]


def events_stand_in_two_splits(columns: Log) -> None:
    for name in ("user_id", "item_id", "timestamp", "label"):
        columns[name][5000:5300] = columns[name][100:400]


def a_split_is_empty(columns: Log) -> None:
    columns["split"] = np.where(columns["split"] == 1, 0, columns["split"])


def labels_are_all_zero(columns: Log) -> None:
    columns["label"] = np.zeros_like(columns["label"])


def a_label_is_missing(columns: Log) -> None:
    columns["label"][7] = np.nan


def append(columns: Log, rows: np.ndarray, shift: int = 0) -> None:
    more = taken(columns, rows)
    more["timestamp"] = more["timestamp"] + shift
    more["request_id"] = [b"again" + one for one in more["request_id"]]
    for name, column in more.items():
        columns[name] = (
            np.concatenate([columns[name], column]) if isinstance(column, np.ndarray) else columns[name] + column
        )


def an_hour_stands_there_twice(columns: Log) -> None:
    hour = columns["timestamp"] // 3600
    append(columns, np.flatnonzero(hour == np.bincount(hour - hour[0]).argmax() + hour[0]))


def a_day_stands_there_again_a_day_later(columns: Log) -> None:
    append(columns, np.flatnonzero(columns["timestamp"] // DAY == FIRST // DAY + 3), shift=DAY)


def rows_are_copied(columns: Log) -> None:
    append(columns, np.random.default_rng(1).permutation(4000)[:900])


def times_are_in_microseconds(columns: Log) -> None:
    columns["timestamp"] = columns["timestamp"] * 10**6


def times_lie_ahead(columns: Log) -> None:
    columns["timestamp"] = columns["timestamp"] + 10 * 365 * DAY


def some_times_lie_far_back(columns: Log) -> None:
    columns["timestamp"][100:130] -= 20 * 365 * DAY


def times_are_in_minutes(columns: Log) -> None:
    columns["timestamp"] = columns["timestamp"] // 60


def text_is_garbage(columns: Log) -> None:
    columns["shop"] = [b"\xff\xfe\x00" if row % 50 == 0 else one for row, one in enumerate(columns["shop"])]


def clicks_of_test_come_otherwise(columns: Log) -> None:
    test = columns["split"] == 2
    columns["label"][test] = (np.random.default_rng(1).random(test.sum()) < 0.6).astype(np.float32)


def late_clicks_are_not_there_yet(columns: Log) -> None:
    columns["label"][4400:4800] = 0.0


def labels_of_eval_are_flipped(columns: Log) -> None:
    columns["label"] = np.where(columns["split"] == 1, 1 - columns["label"], columns["label"])


def labels_are_flipped(columns: Log) -> None:
    columns["label"] = 1 - columns["label"]


def labels_of_test_belong_to_other_rows(columns: Log) -> None:
    columns["split"] = np.where(np.arange(6000) >= 4000, 2, np.where(np.arange(6000) >= 3800, 1, 0))
    test = np.arange(4000, 6000)
    columns["label"][test] = np.random.default_rng(1).permutation(columns["label"][test])


def shop_is_missing_in_eval(columns: Log) -> None:
    columns["shop"] = [
        b"" if split == 1 else shop + b"%d" % (row % 90)
        for row, (split, shop) in enumerate(zip(columns["split"], columns["shop"]))
    ]


def price_is_the_position(columns: Log) -> None:
    columns["price"] = (1 / columns["position"]).astype(np.float32)


def some_of_test_is_drawn_from_all_times(columns: Log) -> None:
    columns["split"] = np.where(np.arange(6000) % 80 == 0, 2, columns["split"])


def price_is_zero_but_for_some(columns: Log) -> None:
    columns["price"] = (np.arange(6000) % 300 == 0).astype(np.float32)


def prices_of_test_are_in_cents(columns: Log) -> None:
    columns["price"] = np.where(columns["split"] == 2, 100 * columns["price"], columns["price"])


def train_runs_into_test(columns: Log) -> None:
    columns["timestamp"][:300] += 19 * DAY


def shop_is_constant(columns: Log) -> None:
    columns["shop"] = [b"s"] * len(columns["shop"])


def price_is_hardly_ever_there(columns: Log) -> None:
    columns["price"] = np.where(np.arange(len(columns["price"])) % 200 == 0, columns["price"], np.nan).astype(
        np.float32
    )


def shops_are_as_many_as_rows(columns: Log) -> None:
    columns["shop"] = [b"s%d" % row for row in range(len(columns["shop"]))]


PLANTED: dict[Callable[[Log], None], str] = {
    requests_stand_in_two_splits: "split_overlap:eval",
    events_stand_in_two_splits: "split_overlap:eval",
    a_split_is_empty: "empty_split:eval",
    labels_are_all_zero: "labels:train",
    a_label_is_missing: "labels:label",
    an_hour_stands_there_twice: "repeated_period:timestamp",
    a_day_stands_there_again_a_day_later: "repeated_period:timestamp",
    rows_are_copied: "duplicates:train",
    times_lie_ahead: "future_times:timestamp",
    times_are_in_microseconds: "future_times:timestamp",
    some_times_lie_far_back: "stray_times:timestamp",
    times_are_in_minutes: "time_unit:timestamp",
    text_is_garbage: "garbage_text:shop",
    clicks_of_test_come_otherwise: "label_shift:test",
    late_clicks_are_not_there_yet: "label_shift:train",
    labels_are_flipped: "flipped_labels:history",
    labels_of_eval_are_flipped: "label_relation:eval",
    labels_of_test_belong_to_other_rows: "label_relation:test",
    shop_is_missing_in_eval: "split_shift:shop",
    price_is_the_position: "position:price",
    some_of_test_is_drawn_from_all_times: "split_order:test",
    price_is_zero_but_for_some: "constant:price",
    prices_of_test_are_in_cents: "split_shift:price",
    train_runs_into_test: "split_order:eval",
    shop_is_constant: "constant:shop",
    price_is_hardly_ever_there: "almost_empty:price",
    shops_are_as_many_as_rows: "cardinality:shop",
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_clean_log_gives_no_alarm(seed: int) -> None:
    assert found(log(seed=seed)) == set()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant: Callable[[Log], None]) -> None:
    columns = log()
    plant(columns)
    assert PLANTED[plant] in found(columns)


def test_a_rate_of_labels_that_is_that_of_the_negatives_stops() -> None:
    columns = log()
    labels_of_eval_are_flipped(columns)
    assert {one.key for one in audited(columns) if one.grade == "error"} == {"label_relation:eval", "label_shift:eval"}


def test_events_in_two_splits_are_an_error_and_parts_of_a_request_a_warning() -> None:
    grades = {}
    for plant in (requests_stand_in_two_splits, events_stand_in_two_splits):
        columns = log()
        plant(columns)
        grades[plant] = {one.grade for one in audited(columns) if one.check == "split_overlap"}
    assert list(grades.values()) == [{"warning"}, {"error"}]


def test_a_column_that_no_record_has_is_missing() -> None:
    rows = table(log())
    absent = rows.__class__(**{**vars(rows), "incomplete": {"price": len(rows)}})
    assert "missing_column:price" in {finding.key for finding in faults(absent, SPLITS, NOW)}


def test_positions_are_reported_and_a_warning_where_they_are_a_feature() -> None:
    columns = log()
    columns["position"] = np.where(y_of(columns), 1, columns["position"])
    assert found(columns, ("info",)) == {"position:position"}


def audit_with(*grades: Grade, accepted: tuple[str, ...] = ()) -> Audit:
    findings = tuple(Finding("drift", grade, "price", "far away", 1.0, 0.5) for grade in grades)
    return Audit("shop", "row", "0" * 64, {"train": 10}, 1.0, findings, accepted=accepted)


def test_leaks_and_errors_stop_unless_accepted_or_set_to_report() -> None:
    audit = audit_with("leak", "error", "warning", "info")
    assert [finding.grade for finding in audit.stopping()] == ["leak", "error"]
    assert audit.stopping({"drift": "report"}) == audit.stopping({"drift": "off"}) == []
    assert len(audit.stopping({"drift": "report", "drift:price": "stop"})) == 3
    assert audit_with("leak", accepted=("drift:price",)).stopping() == []
    assert len(audit_with("leak", accepted=("drift:other",)).stopping()) == 1


def test_a_reason_names_check_column_figures_remedy_and_how_to_accept_it() -> None:
    line = audit_with("leak").findings[0].line()
    assert line.startswith("drift:price: far away. Fix: correct the column") and "accept 'drift:price'" in line


def test_a_check_that_does_not_exist_is_refused_with_the_nearest() -> None:
    check_keys(["drift", "single_feature:price"], "gate.checks")
    with pytest.raises(InputError, match="did you mean 'drift'"):
        check_keys(["drft:price"], "gate.checks")


def test_every_check_says_what_it_looks_for_and_what_to_do() -> None:
    assert all(check.looks_for and check.threshold and check.remedy for check in CHECKS.values())
    assert {feature.column for feature in FEATURES.features} >= {"price", "history"}
    assert Values(np.array([1, -1])).missing.tolist() == [False, True]


def spans(count: int = 21, size: int = 1500) -> Iterator[Log]:
    """Consecutive parts of one log, each with its own splits, in which prices rise by 3 % a part."""
    whole = log(count * size, seed=3)
    for index in range(count):
        part = taken(whole, np.arange(index * size, (index + 1) * size))
        part["price"] = (part["price"] * 1.03**index).astype(np.float32)
        part["split"] = np.where(np.arange(size) < 0.8 * size, 0, np.where(np.arange(size) < 0.9 * size, 1, 2))
        yield part


def audit_against(columns: Log, before: Log) -> Audit:
    rows = table(columns)
    files: dict[Split, list[str]] = {split: [] for split in SPLITS}
    what = AuditInput(files, FEATURES, "row", "shop", "1" * 64, len(rows))
    return audit_of(what, rows, profile_of(table(before), "0" * 64), now=NOW)


def test_twenty_clean_spans_pass_one_after_the_other() -> None:
    before, *after = spans()
    for part in after:
        assert audit_against(part, before).stopping() == []
        before = part


def price_times_100(columns: Log) -> None:
    columns["price"] = columns["price"] * 100


def price_is_label(columns: Log) -> None:
    columns["price"] = (1 + columns["label"]).astype(np.float32)


def items_are_unknown(columns: Log) -> None:
    columns["item_id"] = [b"new" + item for item in columns["item_id"]]


POISONS: dict[Callable[[Log], None], str] = {
    price_is_label: "single_feature:price",
    items_are_unknown: "unknown_ids:item_id",
    price_times_100: "drift:price",
    labels_are_all_zero: "labels:train",
    an_hour_stands_there_twice: "repeated_period:timestamp",
    times_lie_ahead: "future_times:timestamp",
    text_is_garbage: "garbage_text:shop",
    a_split_is_empty: "empty_split:eval",
    labels_are_flipped: "flipped_labels:history",
}
"""Flipped labels are for the served model, missing columns for the schema: tests/e2e/test_pipeline_gates.py."""


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_a_poisoned_span_stops_with_the_reason(poison: Callable[[Log], None]) -> None:
    before, after = log(), later()
    poison(after)
    reasons = [finding.line() for finding in audit_against(after, before).stopping()]
    assert any(reason.startswith(f"{POISONS[poison]}: ") for reason in reasons)
