"""What of new data is compared with the data of the served model, and what counts as usual."""

import numpy as np
import pytest

from runs.audit.drift import drift, profile_of, served_auc
from tests.helpers.audited_log import Log, later, log, table


def compared(columns: Log, earlier: Log | None = None) -> set[str]:
    profile = profile_of(table(earlier or log()), "0" * 64)
    return {finding.key for finding in drift(profile.model_validate_json(profile.model_dump_json()), table(columns))}


def test_the_next_span_of_the_same_log_has_no_drift() -> None:
    assert compared(later()) == set()


def test_a_count_that_has_not_begun_yet_may_begin() -> None:
    before = log()
    before["visits"] = np.zeros(6000, np.int64)
    assert compared(later(), before) == set()


def test_histories_of_a_young_log_may_double() -> None:
    before, after = log(), later()
    before["history"] = [history[-2:] for history in before["history"]]
    after["history"] = [history[-4 if row % 10 else -7 :] for row, history in enumerate(after["history"])]
    assert compared(after, before) == set()


def test_numbers_times_100_are_drift() -> None:
    columns = later()
    for name in ("price", "embedding", "visits"):
        columns[name] = columns[name] * 100
    assert compared(columns) == {"drift:price", "drift:embedding", "drift:visits"}


def test_missing_values_and_a_new_category_are_drift() -> None:
    columns = later()
    columns["price"] = np.where(np.arange(6000) % 10 < 9, np.nan, columns["price"])
    columns["shop"] = [b"other"] * 6000
    assert compared(columns) == {"drift:price", "drift:shop"}


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_flood_of_unknown_ids_is_seen(share: float) -> None:
    columns = later()
    drawn = np.random.default_rng(1).random(6000) < share
    columns["item_id"] = [
        b"x%d" % row if new else item for row, (new, item) in enumerate(zip(drawn, columns["item_id"]))
    ]
    assert compared(columns) == {"unknown_ids:item_id"}


def test_users_who_come_and_go_are_no_flood() -> None:
    before, after = log(), later()
    # Within either log one half of the users leaves in the middle.
    for columns, offset in ((before, 0), (after, 200)):
        columns["user_id"] = [b"v%d" % (row // 20 + offset) for row in range(6000)]
    assert compared(after, before) == set()


def test_another_label_rate_is_seen() -> None:
    columns = later()
    columns["label"] = 1 - columns["label"]
    assert compared(columns) >= {"label_rate:train", "label_rate:test"}


@pytest.mark.parametrize(("flipped", "grade"), [(0.0, "info"), (0.5, "error"), (1.0, "error")])
def test_flipped_labels_are_seen_by_the_served_models_scores(flipped: float, grade: str) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(3000)
    label = (rng.random(3000) < score).astype(float)
    label = np.where(rng.random(3000) < flipped, 1 - label, label)
    assert [finding.grade for finding in served_auc(label, score, 0.8)] == [grade]


def test_a_model_that_never_ranked_what_was_shown_has_nothing_to_lose() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(3000)
    label = (rng.random(3000) > score).astype(float)
    grades = [[finding.grade for finding in served_auc(label, score, before)] for before in (0.45, 0.55, None)]
    assert grades == [["info"], ["error"], ["error"]]
