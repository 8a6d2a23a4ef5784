"""Each fault that is planted in a clean log is found, and none in the log itself."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from runs.audit.audit import AuditInput, audit_of
from runs.audit.drift import profile_of
from runs.audit.faults import faults
from runs.audit.findings import CHECKS, Audit, Finding, Grade, check_keys
from runs.audit.label_counts import label_counts
from runs.audit.leaks import leaks
from runs.audit.splits import splits
from runs.audit.strength import out_of_fold
from runs.audit.table import Values
from tests.helpers.audited_log import DAY, FEATURES, FIRST, NOW, Log, later, log, table, taken
from transforms.errors import InputError
from transforms.features import SPLITS, Split


def audited(columns: Log) -> list[Finding]:
    rows = table(columns)
    return [*faults(rows, SPLITS, NOW), *splits(rows), *leaks(rows.of("train")), *label_counts(rows)]


def found(columns: Log, grades: tuple[str, ...] = ("leak", "error", "warning")) -> set[str]:
    return {finding.key for finding in audited(columns) if finding.grade in grades}


def y_of(columns: Log) -> np.ndarray:
    return np.asarray(columns["label"] > 0)


def price_is_label(columns: Log) -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, len(columns["label"]))
    columns["price"] = (columns["label"] + noise).astype(np.float32)


def price_is_missing_without_click(columns: Log) -> None:
    columns["price"] = np.where(y_of(columns), columns["price"], np.nan).astype(np.float32)


def price_tells_by_both_ends(columns: Log) -> None:
    sign = np.random.default_rng(1).choice([-1, 1], len(columns["label"]))
    columns["price"] = (sign * (1 + 9 * columns["label"])).astype(np.float32)


def shop_is_known_after_some_clicks(columns: Log) -> None:
    some = y_of(columns) & (np.random.default_rng(1).random(len(columns["label"])) < 0.3)
    columns["shop"] = [b"checkout" if one else b"" for one in some]


def visits_jump_with_the_click(columns: Log) -> None:
    counts: dict[bytes, int] = {}
    for row, (user, label) in enumerate(zip(columns["user_id"], columns["label"])):
        counts[user] = counts.get(user, 17 * (int(user[1:]) % 5)) + int(label)
        columns["visits"][row] = counts[user]


def price_is_the_click_rate_of_the_item(columns: Log) -> None:
    items = np.unique(columns["item_id"], return_inverse=True)[1]
    train = columns["split"] == 0
    rates = np.bincount(items[train], columns["label"][train]) / np.bincount(items[train])
    columns["price"] = rates[items].astype(np.float32)


def price_is_a_smoothed_rate_of_all_splits(columns: Log) -> None:
    users = np.unique(columns["user_id"], return_inverse=True)[1]
    clicks, rows = np.bincount(users, columns["label"]), np.bincount(users)
    noise = np.random.default_rng(1).normal(0, 0.005, len(rows))
    columns["price"] = ((clicks + 3) / (rows + 12) + noise)[users].astype(np.float32)


def price_is_the_log_of_clicks_of_the_day(columns: Log) -> None:
    days = np.unique([b"%s %d" % pair for pair in zip(columns["item_id"], columns["timestamp"] // DAY)], False, True)[1]
    columns["price"] = np.log1p(np.bincount(days, columns["label"]))[days].astype(np.float32)


def price_tells_noisily(columns: Log) -> None:
    noise = np.random.default_rng(1).normal(0, 1, len(columns["label"]))
    # Normal distributions 1.6 standard deviations apart have an AUC of 0.87; that of the item here is 0.74.
    columns["price"] = (1.6 * columns["label"] + noise).astype(np.float32)


def shop_is_one_of_some_rows_without_click(columns: Log) -> None:
    hidden = ~y_of(columns) & (np.random.default_rng(1).random(len(columns["label"])) < 0.2)
    columns["shop"] = [b"hidden" if one else shop for one, shop in zip(hidden, columns["shop"])]


def history_holds_the_clicked_item(columns: Log) -> None:
    rows = zip(columns["history"], columns["item_id"], columns["label"])
    columns["history"] = [[*history, item] if label else history for history, item, label in rows]


def history_has_a_telling_member(columns: Log) -> None:
    columns["history"] = [[*old, b"bought"] if y else old for old, y in zip(columns["history"], y_of(columns))]
    columns["history"] = [history[::-1] for history in columns["history"]]


def history_is_longer_after_a_click(columns: Log) -> None:
    columns["history"] = [[b"i1"] * (3 if y else 1) for y in y_of(columns)]


def a_component_is_the_label(columns: Log) -> None:
    columns["embedding"][:, 1] += 8 * columns["label"]


def user_ids_end_with_the_label(columns: Log) -> None:
    columns["user_id"] = [b"%d-%d%s" % (row, row, b"p" if y else b"n") for row, y in enumerate(y_of(columns))]


def negatives_are_drawn_at_whole_minutes(columns: Log) -> None:
    time = columns["timestamp"]
    columns["timestamp"] = np.where(y_of(columns), time // 60 * 60 + 1 + time % 59, time // 60 * 60)


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
    price_is_label: "single_feature:price",
    price_is_missing_without_click: "single_feature:price",
    price_tells_by_both_ends: "single_feature:price",
    shop_is_known_after_some_clicks: "after_click:shop",
    visits_jump_with_the_click: "counts_itself:visits",
    price_is_the_click_rate_of_the_item: "counts_itself:price",
    price_is_a_smoothed_rate_of_all_splits: "counts_itself:price",
    price_is_the_log_of_clicks_of_the_day: "counts_itself:price",
    price_tells_noisily: "single_feature:price",
    shop_is_one_of_some_rows_without_click: "after_click:shop",
    history_holds_the_clicked_item: "history_holds_event:history",
    history_has_a_telling_member: "single_feature:history",
    history_is_longer_after_a_click: "single_feature:history",
    a_component_is_the_label: "single_feature:embedding",
    user_ids_end_with_the_label: "id_encodes_label:user_id",
    negatives_are_drawn_at_whole_minutes: "single_feature:timestamp",
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


def test_clicks_that_stand_first_in_their_requests_are_a_leak_of_candidates_and_a_warning_of_rows() -> None:
    columns = log()
    requests = np.arange(6000) // 4
    order = np.lexsort((-columns["label"], requests))
    columns = taken(columns, order)
    columns["request_id"] = [b"r%d" % request for request in requests]
    rows = table(columns)
    candidates = replace(rows, record="request")
    for one, grade in ((candidates, "leak"), (rows, "warning")):
        findings = [finding for finding in faults(one, SPLITS, NOW) if finding.check == "candidate_order"]
        assert [finding.grade for finding in findings] == [grade]
        assert findings[0].figure == 1.0
    columns["label"] = columns["label"][np.random.default_rng(1).permutation(6000)]
    assert "candidate_order" not in found(columns)


def negatives_are_sampled_and_weighted(columns: Log) -> None:
    train, y = columns["split"] == 0, y_of(columns)
    kept = np.flatnonzero(~train | y | (np.arange(6000) % 5 == 0))
    columns.update(taken(columns, kept))
    train, y = columns["split"] == 0, y_of(columns)
    columns["weight"] = np.where(train & ~y, 5, 1).astype(np.float32)


def there_are_no_times(columns: Log) -> None:
    columns["timestamp"] = np.full(6000, FIRST)


def users_have_habits(columns: Log) -> None:
    users = np.unique(columns["user_id"], return_inverse=True)[1]
    habit = np.random.default_rng(1).normal(0, 3, 150)[users]
    columns["label"] = (np.random.default_rng(2).random(6000) < 1 / (1 + np.exp(-habit))).astype(np.float32)
    columns["history"] = [[b"i1"]] * 6000


def items_are_sampled_by_popularity_for_clicks_alone(columns: Log) -> None:
    rng = np.random.default_rng(1)
    item = np.where(y_of(columns), rng.zipf(1.4, 6000) % 60, rng.integers(0, 60, 6000))
    columns["item_id"] = [b"i%d" % one for one in item]
    columns["visits"] = (
        np.where(item < 3, 9, 1) * columns["visits"] * 0 + 1000 // (1 + item) + rng.integers(0, 20, 6000)
    )
    columns["history"] = [[b"i1"]] * 6000


CLEAN = (
    negatives_are_sampled_and_weighted,
    there_are_no_times,
    users_have_habits,
    items_are_sampled_by_popularity_for_clicks_alone,
)


@pytest.mark.parametrize("change", CLEAN, ids=lambda change: change.__name__)
def test_what_a_good_log_may_have_stops_nothing(change: Callable[[Log], None]) -> None:
    columns = log()
    change(columns)
    assert found(columns, ("leak", "error")) == set()
    assert not {key for key in found(columns) if key.startswith("label_shift")}


def test_one_click_in_each_request_is_no_leak_of_what_the_request_has() -> None:
    columns = log()
    rows = np.arange(6000)
    columns["timestamp"] = columns["timestamp"][rows // 4 * 4]
    columns["user_id"] = [columns["user_id"][row] for row in rows // 4 * 4]
    columns["label"] = (rows % 4 == np.random.default_rng(1).integers(0, 4, 1500)[rows // 4]).astype(np.float32)
    assert found(columns) == set()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(plant: Callable[[Log], None]) -> None:
    columns = log()
    plant(columns)
    assert PLANTED[plant] in found(columns)


def test_events_in_two_splits_are_an_error_and_parts_of_a_request_a_warning() -> None:
    grades = {}
    for plant in (requests_stand_in_two_splits, events_stand_in_two_splits):
        columns = log()
        plant(columns)
        grades[plant] = {one.grade for one in audited(columns) if one.check == "split_overlap"}
    assert list(grades.values()) == [{"warning"}, {"error"}]


def test_out_of_fold_rates_leave_out_the_own_fold() -> None:
    codes, folds = np.array([0, 0, 0, -1]), np.array([0, 1, 1, 0])
    rates = out_of_fold(codes, np.array([1, 0, 1, 0]), folds)
    # Prior: 5 rows of rate 0.5. Row 0 sees rows 1 and 2; row 1 sees row 0; the missing value has no other row.
    np.testing.assert_allclose(rates, [(1 + 2.5) / 7, (1 + 2.5) / 6, (1 + 2.5) / 6, 0.5])


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
}
"""Flipped labels are for the served model, missing columns for the schema: tests/e2e/test_pipeline_gates.py."""


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_a_poisoned_span_stops_with_the_reason(poison: Callable[[Log], None]) -> None:
    before, after = log(), later()
    poison(after)
    reasons = [finding.line() for finding in audit_against(after, before).stopping()]
    assert any(reason.startswith(f"{POISONS[poison]}: ") for reason in reasons)
