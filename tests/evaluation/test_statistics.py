"""Metrics of resampled units: a unit drawn twice is as one whose rows are there twice."""

import numpy as np
import pytest

from evaluation.bootstrap import Statistic, with_intervals
from evaluation.pointwise import auc, calibration, gauc_request, gauc_user, logloss, normalized_entropy, uauc
from evaluation.statistics import Auc, GroupedAucs, PointwiseSums

_LABEL = np.array([1, 0, 1, 0, 0, 1, 1, 0.0])
_PROBABILITY = np.array([0.8, 0.5, 0.3, 0.1, 0.4, 0.7, 0.2, 0.6])
_UNIT = np.array([0, 0, 1, 1, 1, 2, 3, 3])
_USER = np.array([0, 0, 1, 1, 1, 0, 1, 1])
_COUNTS = np.array([2.0, 1.0, 0.0, 3.0])
_DRAWN = np.repeat(np.arange(8), _COUNTS[_UNIT].astype(int))


def test_sums_count_each_row_as_often_as_its_unit() -> None:
    label, probability = _LABEL[_DRAWN], _PROBABILITY[_DRAWN]
    # Eight different probabilities have a bin each, so that the calibration error is the mean gap of a row.
    expected = {
        "logloss": logloss(label, probability),
        "ne": normalized_entropy(label, probability),
        "ece": np.abs(label - probability).mean(),
        "calibration": calibration(label, probability),
    }
    assert PointwiseSums(_LABEL, _PROBABILITY, _UNIT, 4)(_COUNTS) == pytest.approx(expected)


def test_sums_under_other_keys_leave_the_rest_out() -> None:
    found = PointwiseSums(_LABEL, _PROBABILITY, _UNIT, 4, {"calibration": "there"})(np.ones(4))
    assert found == {"there": pytest.approx(calibration(_LABEL, _PROBABILITY))}


def test_rankings_count_each_row_as_often_as_its_unit() -> None:
    label, probability, user = _LABEL[_DRAWN], _PROBABILITY[_DRAWN], _USER[_DRAWN]
    assert Auc("mine", _LABEL, _PROBABILITY, _UNIT)(_COUNTS) == {"mine": pytest.approx(auc(label, probability))}
    users = GroupedAucs(_USER, _LABEL, _PROBABILITY, _UNIT, "uauc", "gauc_user")(_COUNTS)
    assert users["gauc_user"] == pytest.approx(gauc_user(label, probability, user))
    assert users["uauc"] == pytest.approx(uauc(label, probability, user))


def test_a_list_drawn_twice_is_two_lists() -> None:
    copies = [unit + 10 * copy for unit, times in enumerate([2, 1, 0, 3]) for copy in range(times)]
    rows = [np.flatnonzero(copy % 10 == _UNIT) for copy in copies]
    drawn, ids = np.concatenate(rows), np.repeat(copies, [len(part) for part in rows])
    found = GroupedAucs(_UNIT, _LABEL, _PROBABILITY, _UNIT, "gauc_request")(_COUNTS)
    assert found["gauc_request"] == pytest.approx(gauc_request(_LABEL[drawn], _PROBABILITY[drawn], ids))


def test_groups_of_one_unit_and_of_several_stand_beside_each_other() -> None:
    # Group 0 is in units 0 and 1, group 1 in unit 2 alone; the last row is in none.
    group, unit = np.array([0, 0, 0, 0, 1, 1, 1, -1]), np.array([0, 0, 1, 1, 2, 2, 2, 2])
    found = GroupedAucs(group, _LABEL, _PROBABILITY, unit, "mean", "weighted")(np.array([2.0, 1.0, 3.0]))
    drawn = np.array([0, 0, 1, 1, 2, 3])
    first, second = auc(_LABEL[drawn], _PROBABILITY[drawn]), auc(_LABEL[4:7], _PROBABILITY[4:7])
    assert first is not None and second is not None and first != second
    # Group 0 is one group of six rows; group 1, drawn three times, is three of three rows each.
    assert found["mean"] == pytest.approx((first + 3 * second) / 4)
    assert found["weighted"] == pytest.approx((6 * first + 9 * second) / 15)
    assert GroupedAucs(group, _LABEL, _PROBABILITY, unit, "mean")(np.array([2.0, 1.0, 0.0])) == {
        "mean": pytest.approx(first)
    }


def test_units_without_rows_are_drawn_too() -> None:
    statistics: list[Statistic] = [
        PointwiseSums(_LABEL, _PROBABILITY, _UNIT, 9),
        Auc("auc", _LABEL, _PROBABILITY, _UNIT),
    ]
    found = with_intervals(statistics, 9, 30, 1)
    assert found["auc"] == auc(_LABEL, _PROBABILITY)
    assert found["logloss_low"] < found["logloss"] < found["logloss_high"]
