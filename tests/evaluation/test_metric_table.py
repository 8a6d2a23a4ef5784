"""The table of metrics names what the evaluation of rows and of requests reports, and nothing else."""

import numpy as np
import pytest

from evaluation.metrics import METRICS, EvaluationData, evaluate, evaluate_requests
from tests.helpers.simulated_requests import request_arrays


def _keys(*lacking: str) -> set[str]:
    return {key for metric in METRICS if not set(lacking) & set(metric.needs) for key in metric.keys}


def test_each_key_is_in_the_table_once_with_its_meaning() -> None:
    keys = [key for metric in METRICS for key in metric.keys]
    assert len(keys) == len(set(keys))
    assert all(meaning for metric in METRICS for meaning in metric.keys.values())


def test_requests_report_every_metric_whose_needs_are_there() -> None:
    data = request_arrays()

    def reported() -> set[str]:
        return {key.partition("@")[0] + "@k" * ("@" in key) for key in evaluate_requests(**data, resamples=0)}

    assert reported() == _keys()
    data["truth"] = None
    assert reported() == _keys("truth")
    data["logging_score"], data["user_id"] = None, None
    assert reported() == _keys("truth", "logging_score", "user")


def test_rows_report_the_metrics_that_need_no_other_candidates() -> None:
    label, score = np.array([1, 0, 1, 0.0]), np.array([0.7, 0.8, 0.9, 0.1])
    ids = np.array([1, 1, 2, 2])
    reported = evaluate(label, score, ids, ids, truth=score, logging_score=-score, resamples=0)
    assert set(reported) == _keys("candidates")
    # One of the four pairs, (0.7, 0.8), is out of order; of the negated scores only that one is in order.
    assert reported["oracle_auc"] == 3 / 4
    assert reported["logging_policy_auc"] == 1 / 4


def test_a_metric_of_requests_says_what_rows_lack() -> None:
    none = np.empty(0)
    data = EvaluationData(none, none, none, none, none, 0, {})
    with pytest.raises(ValueError, match="the data are rows; expected requests"):
        METRICS[-1].statistic(data)
