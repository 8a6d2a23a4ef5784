"""A model beside baselines: paired differences by hand, and intervals that know of the pairing."""

import numpy as np
import pytest

from evaluation.comparison import BaselineScores, compare
from evaluation.metrics import evaluate, request_data, row_data
from tests.helpers.simulated_requests import request_arrays

_LABEL = np.array([1.0, 0.0, 1.0, 0.0])
_MODEL = np.array([0.8, 0.3, 0.4, 0.6])
_OTHER = np.array([0.4, 0.6, 0.5, 0.5])


def test_gains_are_differences_with_the_sign_of_better() -> None:
    result = compare(row_data(_LABEL, _MODEL), {"other": BaselineScores(_OTHER)}, resamples=0)
    # Pairs in order: the model's 0.8 > 0.3, 0.8 > 0.6, 0.4 > 0.3; the other's 0.5 beside 0.5 is a tie.
    assert result.metrics["auc"] == 0.75 and result.baselines["other"]["auc"] == 0.125
    assert result.gain["other"]["auc"] == pytest.approx(0.625)
    loss = -np.mean(np.log([0.8, 0.7, 0.4, 0.4]))
    other = -np.mean(np.log([0.4, 0.4, 0.5, 0.5]))
    assert result.gain["other"]["logloss"] == pytest.approx(other - loss)
    assert "calibration" in result.baselines["other"] and "calibration" not in result.gain["other"]


def test_the_models_metrics_are_those_without_a_comparison() -> None:
    random = np.random.default_rng(0)
    label, user = (random.random(300) < 0.3).astype(float), random.integers(0, 40, 300)
    score, other = random.random(300), random.random(300)
    alone = evaluate(label, score, user, resamples=20)
    result = compare(row_data(label, score, user), {"other": BaselineScores(other)}, 20)
    assert result.metrics == alone
    assert result.baselines["other"]["auc_low"] == evaluate(label, other, user, resamples=20)["auc_low"]


def test_the_interval_of_a_difference_knows_that_the_examples_are_the_same() -> None:
    random = np.random.default_rng(1)
    label = (random.random(2000) < 0.3).astype(float)
    score = np.clip(0.3 + 0.2 * label + random.normal(0, 0.2, 2000), 0.01, 0.99)
    almost = np.clip(score + random.normal(0, 0.02, 2000), 0.01, 0.99)
    result = compare(row_data(label, score), {"almost": BaselineScores(almost), "same": BaselineScores(score)}, 100)
    width = {key: values["auc_high"] - values["auc_low"] for key, values in result.gain.items()}
    assert width["same"] == 0 and result.gain["same"]["auc"] == 0
    assert width["almost"] < 0.2 * (result.metrics["auc_high"] - result.metrics["auc_low"])


def test_scores_that_only_order_have_no_log_loss_and_keep_their_order() -> None:
    arrays = request_arrays()
    prepared = request_data(**arrays)
    logging = BaselineScores(100 * arrays["logging_score"] - 7, are_probabilities=False)
    result = compare(prepared, {"logging": logging}, resamples=0)
    other = result.baselines["logging"]
    assert other["auc_entire"] == pytest.approx(result.metrics["logging_auc_entire"])
    assert other["auc"] == pytest.approx(result.metrics["logging_policy_auc"])
    assert other["gap_closed"] == pytest.approx(0)
    names = {key.partition("_")[0] for key in {**other, **result.gain["logging"]}}
    assert not names & {"logloss", "ne", "ece", "calibration", "oracle", "logging"}
    assert result.gain["logging"]["auc_entire"] == pytest.approx(result.metrics["auc_entire"] - other["auc_entire"])


def test_scores_of_other_examples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        compare(row_data(_LABEL, _MODEL), {"other": BaselineScores(_OTHER[:3])})
