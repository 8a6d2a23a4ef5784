"""AUC over all candidates against the truth, the oracle's, the logging policy's, and the gap between."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.entire_space import LOGGING, MODEL, ORACLE, EntireSpace
from evaluation.ranks import PooledAuc
from tests.helpers.simulated_requests import soft_auc

_TRUTH = np.array([0.5, 0.2, 0.8, 0.1])
_SHOWN = np.array([True, True, False, False])
_UNIT = np.array([0, 0, 0, 1])


def test_soft_auc_by_hand() -> None:
    # Truths 0.25 and 0.75 in order: of weights 0.75 * 0.75 right, 0.25 * 0.25 wrong, each its own tie 0.25 * 0.75.
    space = EntireSpace({MODEL: np.array([1, 2.0])}, np.array([0.25, 0.75]), np.array([True, True]), np.array([0, 1]))
    expected = (0.5625 + 0.5 * (0.1875 + 0.1875)) / (0.5625 + 0.0625 + 0.375)
    assert space(np.ones(2))["auc_entire"] == pytest.approx(expected)


@pytest.mark.parametrize("ties", [False, True])
def test_every_pool_is_that_of_a_double_loop(ties: bool) -> None:
    random = np.random.default_rng(0)
    truth, model, logging = random.random((3, 60))
    model = np.round(model, 1) if ties else model
    shown, unit = random.random(60) < 0.3, random.integers(0, 9, 60)
    found = EntireSpace({MODEL: model, ORACLE: truth, LOGGING: logging}, truth, shown, unit)(np.ones(9))
    for whose, score in ((MODEL, model), (ORACLE, truth), (LOGGING, logging)):
        assert found[f"{whose}auc_entire"] == pytest.approx(soft_auc(truth, score))
        assert found[f"{whose}auc_unexposed"] == pytest.approx(soft_auc(truth[~shown], score[~shown]))
    assert found["auc_exposed_truth"] == pytest.approx(soft_auc(truth[shown], model[shown]))
    low, high = soft_auc(truth, logging), soft_auc(truth, truth)
    assert found["gap_closed"] == pytest.approx((soft_auc(truth, model) - low) / (high - low))
    low, high = soft_auc(truth[~shown], logging[~shown]), soft_auc(truth[~shown], truth[~shown])
    expected = (soft_auc(truth[~shown], model[~shown]) - low) / (high - low)
    assert found["gap_closed_unexposed"] == pytest.approx(expected)


def test_the_soft_label_is_the_expectation_over_labels_drawn_from_the_truth() -> None:
    random = np.random.default_rng(1)
    truth, score = random.random(400), random.random(400)
    pool = PooledAuc(np.argsort(score), score, truth, np.arange(400)).auc(np.ones(400))
    drawn: list[Any] = []
    for _ in range(300):
        label = (random.random(400) < truth).astype(float)
        drawn.append(PooledAuc(np.argsort(score), score, label, np.arange(400)).auc(np.ones(400)))
    assert pool == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(300) + 1 / 400)


def test_a_unit_drawn_twice_has_its_items_there_twice() -> None:
    score = np.array([0.3, 0.1, 0.3, 0.2])
    found = EntireSpace({MODEL: score}, _TRUTH, _SHOWN, _UNIT)(np.array([2.0, 1.0]))
    twice = [0, 1, 2, 0, 1, 2, 3]
    assert found["auc_entire"] == pytest.approx(soft_auc(_TRUTH[twice], score[twice]))
    assert found["auc_exposed_truth"] == pytest.approx(soft_auc(_TRUTH[:2], score[:2]))
    assert EntireSpace({MODEL: score}, _TRUTH, _SHOWN, _UNIT)(np.array([0.0, 0.0]))["auc_entire"] is None


def test_the_oracle_closes_the_gap_and_the_logging_policy_does_not() -> None:
    logging = np.array([0.5, 0.9, 0.1, 0.2])
    for model, share in ((_TRUTH, 1.0), (np.exp(logging), 0.0)):
        space = EntireSpace({MODEL: model, ORACLE: _TRUTH, LOGGING: logging}, _TRUTH, _SHOWN, _UNIT)
        assert space(np.ones(2))["gap_closed"] == pytest.approx(share)


def test_there_is_no_gap_to_close_behind_a_perfect_logging_policy() -> None:
    space = EntireSpace({MODEL: _TRUTH[::-1], ORACLE: _TRUTH, LOGGING: 3 * _TRUTH}, _TRUTH, _SHOWN, _UNIT)
    found = space(np.ones(2))
    assert found["gap_closed"] is None
    assert found["logging_auc_entire"] == pytest.approx(found["oracle_auc_entire"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=30))
def test_chunks_and_ties_never_change_the_value(rows: list[tuple[int, int, int]]) -> None:
    score, truth, unit = (np.array(column) for column in zip(*rows, strict=True))
    order = np.argsort(score)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluation.ranks.CHUNK", 3)
        found = PooledAuc(order, score, truth / 4, unit).auc(np.array([1.0, 3.0, 2.0]))
    items = np.repeat(np.arange(len(rows)), np.array([1, 3, 2])[unit])
    if 0 < truth.sum() < 4 * len(rows):
        assert found == pytest.approx(soft_auc(truth[items] / 4, score[items]))
    else:
        assert found is None
