"""Sample weights in the metrics: an example of weight 2 counts as if it stood there twice."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from evaluation.metrics import evaluate, evaluate_requests
from evaluation.pointwise import gauc_request, gauc_user, uauc


def _rows(size: int = 400) -> dict[str, Any]:
    random = np.random.default_rng(3)
    probability = np.round(random.random(size), 2)
    return {
        "label": (random.random(size) < probability).astype(float),
        "probability": probability,
        "user_id": random.integers(0, 20, size),
        "request_id": random.integers(0, 60, size),
        "truth": random.random(size),
        "logging_score": random.random(size),
    }


def _repeated(rows: dict[str, Any], times: np.ndarray) -> dict[str, Any]:
    return {name: np.repeat(values, times) for name, values in rows.items()}


def _same(one: dict[str, float], other: dict[str, float]) -> None:
    assert set(one) == set(other)
    for key in one:
        assert one[key] == pytest.approx(other[key], abs=1e-9), key


def test_whole_weights_are_repetitions() -> None:
    rows, times = _rows(), np.random.default_rng(4).integers(0, 4, 400)
    weighted = evaluate(**rows, weight=times.astype(float), resamples=20, resample="user")
    repeated = evaluate(**_repeated(rows, times), resamples=20, resample="user")
    _same(weighted, repeated)
    assert weighted["auc"] != pytest.approx(evaluate(**rows, resamples=0)["auc"], abs=1e-4)


def test_rows_of_one_user_may_be_of_several_units() -> None:
    # Drawn by request, a user's rows are of several units.
    rows, times = _rows(), np.random.default_rng(5).integers(1, 4, 400)
    weighted = evaluate(**rows, weight=times.astype(float), resamples=20, resample="request")
    repeated = evaluate(**_repeated(rows, times), resamples=20, resample="request")
    _same(weighted, repeated)


def test_weights_of_any_size_give_the_figures_of_scikit_learn_and_numpy() -> None:
    rows, weight = _rows(), np.random.default_rng(6).random(400) * 3
    label, probability = rows["label"], rows["probability"]
    metrics = evaluate(**rows, weight=weight, resamples=0)
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    loss = log_loss(label, clipped, sample_weight=weight)
    rate = np.average(label, weights=weight)
    aucs, sums = [], []
    for user in np.unique(rows["user_id"]):
        own = rows["user_id"] == user
        if 0 < label[own].mean() < 1:
            aucs.append(roc_auc_score(label[own], probability[own], sample_weight=weight[own]))
            sums.append(weight[own].sum())
    expected = {
        "auc": roc_auc_score(label, probability, sample_weight=weight),
        "oracle_auc": roc_auc_score(label, rows["truth"], sample_weight=weight),
        "logloss": loss,
        "ne": loss / -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)),
        "calibration": weight @ probability / (weight @ label),
        "gauc_user": np.average(aucs, weights=sums),
        "uauc": np.mean(aucs),
    }
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, abs=1e-9), key
    assert gauc_user(label, probability, rows["user_id"], weight) == pytest.approx(expected["gauc_user"], abs=1e-9)
    assert uauc(label, probability, rows["user_id"], weight) == pytest.approx(expected["uauc"], abs=1e-9)
    by_request = gauc_request(label, probability, rows["request_id"], weight)
    assert metrics["gauc_request"] == pytest.approx(by_request, abs=1e-9)


def test_of_requests_what_was_shown_is_weighted_and_rankings_are_not() -> None:
    random = np.random.default_rng(7)
    shape = (30, 8)
    arrays: dict[str, Any] = {
        "probability": random.random(shape),
        "candidate": random.random(shape) < 0.9,
        "exposed": random.random(shape) < 0.6,
        "label": random.integers(0, 2, shape).astype(float),
        "truth": random.random(shape),
    }
    weight = random.random(shape)
    # What is nowhere shown may be anything.
    weight[~arrays["candidate"]] = np.nan
    plain = evaluate_requests(**arrays, user_id=random.integers(0, 9, 30), resamples=0)
    metrics = evaluate_requests(**arrays, user_id=random.integers(0, 9, 30), resamples=0, weight=weight)
    shown = arrays["candidate"] & arrays["exposed"]
    expected = roc_auc_score(arrays["label"][shown], arrays["probability"][shown], sample_weight=weight[shown])
    assert metrics["auc"] == pytest.approx(expected, abs=1e-9) != plain["auc"]
    for key in ("recall@10", "ndcg@10", "auc_entire", "logloss_unexposed"):
        assert metrics[key] == plain[key], key


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_weights_outside_their_domain_are_refused(wrong: float) -> None:
    rows, weight = _rows(), np.ones(400)
    weight[7] = wrong
    with pytest.raises(ValueError, match=r"weight: 1 of 400 values are wrong, the first, .*, in row 7"):
        evaluate(**rows, weight=weight, resamples=0)
