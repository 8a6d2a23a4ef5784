"""What is measured of a stream: metrics of rows, cold ids, the course over time."""

import numpy as np
import pytest

from experiments.cs3.measures import Rows, cold_masks, course, distinct_in_batch, groups, kendall, measured


def rows_of(label, truth=None, group=None, users=None, items=None):
    size = len(label)
    ids = np.stack([users or [1] * size, items or [1] * size], axis=1)
    known = None if truth is None else np.array(truth)
    return Rows(np.array(label, np.float32), np.array(group or [0] * size), ids, known)


def test_rows_belong_to_their_request_or_where_that_is_alone_to_their_user():
    request, user = np.array([b"b", b"b", b"a", b"a"]), np.array([b"u", b"v", b"w", b"w"])
    assert groups(request, user).tolist() == [1, 1, 0, 0]
    assert groups(np.array([b"1", b"2", b"3", b"4"]), user).tolist() == [0, 1, 2, 2]


def test_metrics_are_those_worked_out_by_hand():
    rows = rows_of([1, 0, 0, 1], truth=[0.9, 0.2, 0.1, 0.5])
    towers, ranker = np.array([3.0, 2.0, 1.0, 0.0]), np.array([4.0, 1.0, 2.0, 3.0])
    metrics = measured(np.stack([towers, ranker], axis=1), rows, {"cold": np.array([True, True, True, False])})
    # Pairs of a positive and a negative: towers 2 of 4 in order, the ranker 4 of 4; cold rows 2 of 2.
    assert metrics["auc"] == 0.5 and metrics["ranker_auc"] == 1.0
    assert metrics["auc_cold"] == 1.0 and metrics["share_cold"] == 0.75
    # Of the 6 pairs of rows 3 are ordered alike and 3 the other way round.
    assert metrics["kendall_tau"] == 0.0
    p = np.array([0.9, 0.2, 0.1, 0.5])
    weights = np.outer(p, 1 - p)
    order = np.sign(towers[:, None] - towers[None]) / 2 + 0.5
    assert metrics["auc_truth"] == pytest.approx((weights * order).sum() / weights.sum())
    assert metrics["oracle_auc"] == 1.0 and metrics["oracle_auc_truth"] > metrics["auc_truth"]
    assert metrics["logloss"] == pytest.approx(-np.log([1 / (1 + np.exp(-3)), 1 - 1 / (1 + np.exp(-2)),
                                                        1 - 1 / (1 + np.exp(-1)), 0.5]).mean())  # fmt: skip


def test_tau_is_the_mean_of_groups_and_groups_of_one_row_have_none():
    one, other = np.array([1.0, 5.0, 2.0, 3.0, 9.0]), np.array([1.0, 2.0, 2.0, 1.0, 0.0])
    assert kendall(one, other, np.array([0, 1, 0, 1, 2])) == pytest.approx(1.0)
    assert kendall(one, -other, np.array([0, 1, 0, 1, 2])) == pytest.approx(-1.0)
    assert kendall(one, other, np.arange(5)) is None


def test_cold_ids_have_few_clicks_in_the_train_split_or_no_row_of_their_own():
    train = rows_of([1, 1, 1, 0, 0], users=[1, 1, 2, 3, 3], items=[1, 1, 1, 1, 1])
    test = rows_of([0] * 5, users=[1, 2, 3, 4, 0], items=[1, 1, 1, 9, 2])
    masks = cold_masks(train, test, 1, [4, 3])
    assert masks["cold_users"].tolist() == [False, True, True, True, True]
    assert masks["cold_items"].tolist() == [False, False, False, True, True]
    assert cold_masks(train, test, 2, [4, 3])["cold_users"].all()
    # Id 1 has two clicks, but is unknown where only id 0 stands for one thing.
    assert cold_masks(train, test, 1, [1, 3])["cold_users"].all()


def test_the_course_has_an_auc_in_each_twentieth():
    rising = np.concatenate([np.tile([0.0, 1.0], 10), np.tile([1.0, 0.0], 10)])
    logits = np.stack([rising, -rising], axis=1)
    splits = [rows_of([1.0, 0.0] * 8), rows_of([1.0, 0.0] * 12)]
    assert course(logits, splits) == {"towers": [0.0] * 10 + [1.0] * 10, "ranker": [1.0] * 10 + [0.0] * 10}
    known = [rows_of([1.0, 0.0] * size, truth=[1.0, 0.0] * size) for size in (8, 12)]
    assert course(logits, known)["oracle"] == [1.0] * 20 and course(logits, known)["towers_truth"][:2] == [0.0, 0.0]


def test_users_in_a_batch_are_counted_batch_by_batch():
    assert distinct_in_batch(np.array([1, 1, 2, 3, 3, 3, 4]), 3) == pytest.approx((2 + 1 + 1) / 3)
