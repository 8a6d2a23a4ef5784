"""Each leak that is planted in a clean log is found, and none where strong columns and odd lists are legitimate."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from runs.audit.faults import faults
from runs.audit.strength import out_of_fold
from tests.helpers.audited_log import DAY, FIRST, NOW, Log, found, log, table, taken, y_of
from transforms.features import SPLITS


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
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_leak_is_found(plant: Callable[[Log], None]) -> None:
    columns = log()
    plant(columns)
    assert PLANTED[plant] in found(columns)


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


def splits_are_by_user(columns: Log) -> None:
    users = np.unique(columns["user_id"], return_inverse=True)[1]
    columns["split"] = np.digitize(np.random.default_rng(1).random(150), [0.8, 0.9])[users]


CLEAN = (
    splits_are_by_user,
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
    assert not {key for key in found(columns) if key.startswith(("label_shift", "unseen_ids"))}


def test_one_click_in_each_request_is_no_leak_of_what_the_request_has() -> None:
    columns = log()
    rows = np.arange(6000)
    columns["timestamp"] = columns["timestamp"][rows // 4 * 4]
    columns["user_id"] = [columns["user_id"][row] for row in rows // 4 * 4]
    columns["label"] = (rows % 4 == np.random.default_rng(1).integers(0, 4, 1500)[rows // 4]).astype(np.float32)
    assert found(columns) == set()


def test_out_of_fold_rates_leave_out_the_own_fold() -> None:
    codes, folds = np.array([0, 0, 0, -1]), np.array([0, 1, 1, 0])
    rates = out_of_fold(codes, np.array([1, 0, 1, 0]), folds)
    # Prior: 5 rows of rate 0.5. Row 0 sees rows 1 and 2; row 1 sees row 0; the missing value has no other row.
    np.testing.assert_allclose(rates, [(1 + 2.5) / 7, (1 + 2.5) / 6, (1 + 2.5) / 6, 0.5])
