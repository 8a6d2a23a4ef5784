"""All metrics of requests: what was shown, all candidates, intervals, wrong input."""

import math
import time
from typing import Any

import numpy as np
import pytest

from evaluation.metrics import evaluate, evaluate_requests
from evaluation.pointwise import auc, calibration, ece, logloss
from tests.helpers.simulated_requests import request_arrays, soft_auc

_TRUTH_KEYS = {
    *(f"{whose}auc_{space}" for whose in ("", "oracle_", "logging_") for space in ("entire", "unexposed")),
    *("auc_exposed_truth", "gap_closed", "gap_closed_unexposed"),
    *("logloss_unexposed", "ece_unexposed", "calibration_unexposed"),
}
_SHOWN_KEYS = {"auc", "logloss", "ne", "ece", "calibration", "gauc_user", "uauc", "gauc_request"}


def _keys(result: dict[str, float]) -> set[str]:
    """Of the metrics alone."""
    return {key for key in result if not key.endswith(("_low", "_high")) and not key.startswith("resampled_")}


def test_metrics_on_the_shown_candidates_are_those_of_rows() -> None:
    data = request_arrays()
    shown = data["exposed"]
    request = np.repeat(np.arange(len(shown)), shown.sum(axis=1))
    rows = evaluate(data["label"][shown], data["probability"][shown], data["user_id"][request], request, resamples=0)
    found = evaluate_requests(**data, resamples=0)
    assert set(rows) == _SHOWN_KEYS
    assert {key: found[key] for key in rows} == pytest.approx(rows)
    assert found["oracle_auc"] == auc(data["label"][shown], data["truth"][shown])
    assert found["logging_policy_auc"] == auc(data["label"][shown], data["logging_score"][shown])


def test_metrics_against_the_truth_are_those_of_a_double_loop() -> None:
    data = request_arrays()
    found = evaluate_requests(**data, resamples=0)
    real, shown = data["candidate"], data["exposed"]
    hidden = real & ~shown
    truth, probability, logging = data["truth"], data["probability"], data["logging_score"]
    assert found["auc_entire"] == pytest.approx(soft_auc(truth[real], probability[real]))
    assert found["auc_unexposed"] == pytest.approx(soft_auc(truth[hidden], probability[hidden]))
    assert found["auc_exposed_truth"] == pytest.approx(soft_auc(truth[shown], probability[shown]))
    assert found["oracle_auc_entire"] == pytest.approx(soft_auc(truth[real], truth[real]))
    assert found["logging_auc_unexposed"] == pytest.approx(soft_auc(truth[hidden], logging[hidden]))
    assert found["logloss_unexposed"] == pytest.approx(logloss(truth[hidden], probability[hidden]))
    assert found["ece_unexposed"] == pytest.approx(ece(truth[hidden], probability[hidden]))
    assert found["calibration_unexposed"] == pytest.approx(calibration(truth[hidden], probability[hidden]))


def test_clicks_are_looked_for_among_all_candidates() -> None:
    data: dict[str, Any] = {
        "probability": np.array([[0.9, 0.8, 0.3, 0.2]]),
        "candidate": np.array([[1, 1, 1, 0]]),
        "exposed": np.array([[0, 1, 1, 1]]),
        "label": np.array([[1, 1, 0, 1.0]]),  # unexposed, shown, shown, padding: one click counts, at rank 1
    }
    found = evaluate_requests(**data, cut_offs=(1, 2), resamples=0)
    assert [found[f"recall@{k}"] for k in (1, 2)] == [0.0, 1.0]
    assert found["ndcg@2"] == pytest.approx(1 / math.log2(3))


@pytest.mark.parametrize("definition", ["standard", "recflow"])
def test_the_order_and_the_padding_of_candidates_have_no_influence(definition: Any) -> None:
    data = request_arrays()
    expected = evaluate_requests(**data, cut_offs=(1, 3, 5), definition=definition, resamples=3)
    random = np.random.default_rng(5)
    order = np.argsort(random.random(data["candidate"].shape), axis=1)
    moved: dict[str, Any] = {
        name: v if v.ndim == 1 else np.take_along_axis(v, order, axis=1) for name, v in data.items()
    }
    found = evaluate_requests(**moved, cut_offs=(1, 3, 5), definition=definition, resamples=3)
    assert found == pytest.approx(expected)
    padded: dict[str, Any] = {name: v if v.ndim == 1 else np.pad(v, ((0, 0), (2, 5))) for name, v in data.items()}
    padding = ~padded["candidate"]
    for name, rubbish in (("probability", math.nan), ("truth", 7.0), ("logging_score", math.inf), ("exposed", True)):
        padded[name] = np.where(padding, rubbish, padded[name])
    padded["label"] = np.where(padded["exposed"] & ~padding, padded["label"], math.nan)
    found = evaluate_requests(**padded, cut_offs=(1, 3, 5), definition=definition, resamples=3)
    assert found == pytest.approx(expected)


def test_each_metric_has_an_interval_around_it() -> None:
    data = request_arrays(requests=200)
    result = evaluate_requests(**data, cut_offs=(2, 50), resamples=60)
    ranking = {"recall@2", "ndcg@2", "recall@50", "ndcg@50"}
    assert _keys(result) == _SHOWN_KEYS | _TRUTH_KEYS | ranking | {"oracle_auc", "logging_policy_auc"}
    assert result.pop("resampled_users") == 8
    assert set(result) == {key + end for key in _keys(result) for end in ("", "_low", "_high")}
    for key in _keys(result) - {"ece", "ece_unexposed", "recall@50"}:
        assert result[f"{key}_low"] < result[key] < result[f"{key}_high"], key
    assert result["recall@50"] == result["recall@50_low"] == 1.0


def test_intervals_are_repeatable_and_as_wide_as_between_worlds() -> None:
    worlds = [request_arrays(requests=150, seed=seed) for seed in range(40)]
    assert evaluate_requests(**worlds[0], resamples=9) == evaluate_requests(**worlds[0], resamples=9)
    # Their users have no ways of their own.
    results = [evaluate_requests(**world, cut_offs=(2,), resamples=60, resample="request") for world in worlds]
    for key in ("auc_entire", "gap_closed", "recall@2"):
        width = np.mean([result[f"{key}_high"] - result[f"{key}_low"] for result in results])
        assert width == pytest.approx(2 * 1.96 * np.std([result[key] for result in results]), rel=0.4), key


def test_without_the_truth_nothing_is_said_of_it() -> None:
    data = request_arrays()
    result = evaluate_requests(**{**data, "truth": None, "logging_score": None, "user_id": None}, resamples=0)
    assert _keys(result) == (_SHOWN_KEYS - {"gauc_user", "uauc"}) | {
        f"{name}@{k}" for name in ("recall", "ndcg") for k in (10, 50, 100, 200)
    }
    alone = evaluate_requests(**{**data, "logging_score": None}, resamples=0)
    assert {key for key in _TRUTH_KEYS if key not in alone} == {
        "logging_auc_entire", "logging_auc_unexposed", "gap_closed", "gap_closed_unexposed"
    }  # fmt: skip


def test_where_nothing_was_shown_what_rests_on_the_truth_remains() -> None:
    data = request_arrays()
    nothing = evaluate_requests(**{**data, "exposed": np.zeros_like(data["exposed"])}, resamples=4)
    assert _keys(nothing) == _TRUTH_KEYS - {"auc_exposed_truth"}
    assert nothing["auc_entire"] == nothing["auc_unexposed"]


def test_where_everything_was_shown_there_is_nothing_of_the_unexposed() -> None:
    data = request_arrays()
    result = evaluate_requests(**{**data, "exposed": data["candidate"]}, resamples=4)
    assert not {key for key in result if "unexposed" in key}
    assert result["auc_exposed_truth"] == result["auc_entire"]


def test_one_class_alone_leaves_out_what_needs_two() -> None:
    data = request_arrays()
    result = evaluate_requests(**{**data, "label": np.zeros_like(data["label"])}, resamples=0)
    assert _keys(result) == _TRUTH_KEYS | {"logloss", "ece"}


def test_padding_alone_and_no_request_at_all_have_no_metrics() -> None:
    data = request_arrays()
    assert evaluate_requests(**{**data, "candidate": np.zeros_like(data["candidate"])}, resamples=4) == {}
    assert evaluate_requests(**{name: values[:0] for name, values in data.items()}, resamples=4) == {}


def test_users_without_a_shown_candidate_or_an_id_have_no_part() -> None:
    data = request_arrays()
    data["exposed"][:10] = False
    data["user_id"][:10] = b"nobody"
    data["user_id"][10:15] = b""
    shown = data["exposed"][15:]
    user = np.repeat(data["user_id"][15:], shown.sum(axis=1))
    rows = evaluate(data["label"][15:][shown], data["probability"][15:][shown], user, resamples=0)
    found = evaluate_requests(**data, resamples=0)
    assert [found[key] for key in ("uauc", "gauc_user")] == pytest.approx([rows[key] for key in ("uauc", "gauc_user")])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("probability", math.nan, r"probability of real candidates: 1 values are NaN.*first nan.*apply a sigmoid"),
        ("probability", -2.5, r"first -2.5 in request 0, column 0; expected probabilities; apply a sigmoid"),
        ("truth", 1.5, r"truth of real candidates: 1 values are NaN or outside \[0, 1\], first 1.5"),
        ("truth", math.nan, "truth of real candidates"),
        ("label", 2.0, "label of shown candidates.*first 2.0.*clean the labels"),
        ("logging_score", math.inf, "logging_score of real candidates.*not finite, first inf"),
        ("candidate", 2, "candidate has values other than 0 and 1"),
        ("exposed", 0.5, "exposed has values other than 0 and 1"),
    ],
)
def test_wrong_values_are_refused(name: str, value: float, message: str) -> None:
    data = request_arrays()
    data["exposed"][0, 0] = data["candidate"][0, 0] = True
    data[name] = data[name].astype(float)
    data[name][0, 0] = value
    with pytest.raises(ValueError, match=message):
        evaluate_requests(**data, resamples=0)


@pytest.mark.parametrize("name", ["candidate", "exposed", "label", "truth", "logging_score"])
def test_wrong_shapes_are_refused(name: str) -> None:
    data = request_arrays()
    with pytest.raises(ValueError, match=rf"{name} has shape \(30, 11\); expected that of probability, \(30, 12\)"):
        evaluate_requests(**{**data, name: data[name][:, 1:]})


def test_flat_arrays_and_too_few_users_are_refused() -> None:
    data = request_arrays()
    with pytest.raises(ValueError, match=r"probability has shape \(360,\); expected \[requests, candidates\]"):
        evaluate_requests(**{**data, "probability": data["probability"].ravel()})
    with pytest.raises(ValueError, match="one id a row"):
        evaluate_requests(**{**data, "user_id": data["user_id"][1:]})


def test_a_seed_of_an_experiment_is_evaluated_at_once() -> None:
    data = request_arrays(2000, 100, 10)
    evaluate_requests(**data, resamples=0)
    start = time.process_time()
    evaluate_requests(**data, resamples=0)
    assert time.process_time() - start < 0.5  # 0.1 on a quiet machine; a loop over pairs takes hours.
