"""What a bootstrap draws, and that its intervals cover what they are to cover where users come again."""

import math
import time

import numpy as np
import pytest

from evaluation.bootstrap import with_intervals
from evaluation.metrics import evaluate, evaluate_requests
from evaluation.statistics import PointwiseSums
from evaluation.units import RESAMPLES, Resample, units_of
from tests.helpers.simulated_requests import request_arrays

_USER = np.array([0, 0, 1, -1, -1, -1, -1])
_REQUEST = np.array([0, 1, 2, 3, 3, -1, -1])
_GROUPS: dict[Resample, np.ndarray] = {"user": _USER, "request": _REQUEST}


def test_users_come_with_all_their_rows_and_rows_without_one_by_request_or_alone() -> None:
    units = units_of(7, _GROUPS)
    assert units.index.tolist() == [0, 0, 1, 2, 2, 3, 4] and len(units) == 5
    assert units.counts() == {"resampled_users": 2, "resampled_requests": 1, "resampled_rows": 2}
    assert units_of(7, _GROUPS, "user").index.tolist() == units.index.tolist()


def test_requests_or_rows_are_drawn_where_asked_for_and_where_there_is_no_larger_id() -> None:
    by_request = units_of(7, _GROUPS, "request")
    assert by_request.index.tolist() == [0, 1, 2, 3, 3, 4, 5]
    assert by_request.counts() == {"resampled_requests": 4, "resampled_rows": 2}
    assert units_of(7, {"user": np.full(7, -1), "request": _REQUEST}).counts() == by_request.counts()
    assert units_of(7, _GROUPS, "row").index.tolist() == list(range(7)) == units_of(7, {}).index.tolist()
    assert len(units_of(0, {})) == 0


def test_a_kind_without_ids_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(ValueError, match="resample is 'user' and there is no user id.*resample request or row"):
        units_of(7, {"user": np.full(7, -1), "request": _REQUEST}, "user")
    with pytest.raises(ValueError, match="resample is 'item'; expected user or request or row"):
        units_of(7, _GROUPS, "item")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resample is 'row'; expected user or request;"):
        evaluate_requests(**request_arrays(), resample="row")


def test_the_result_says_what_was_drawn_and_how_many() -> None:
    data = request_arrays()
    users = len(np.unique(data["user_id"]))
    kinds: tuple[Resample | None, ...] = (None, "user", "request")
    found = {kind: evaluate_requests(**data, resamples=9, resample=kind) for kind in kinds}
    assert found[None] == found["user"] and found[None]["resampled_users"] == users
    assert found["request"]["resampled_requests"] == 30 and "resampled_users" not in found["request"]
    data["user_id"][:3] = b""
    some = evaluate_requests(**data, resamples=9)
    # Who has no id is drawn request by request.
    assert some["resampled_requests"] == 3 == some["requests_without_user"] and some["resampled_users"] <= users


_WITHIN = 10


def _log(random: np.random.Generator, users: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of users whose rates, 0.1 or 0.5, are their own; each has ten requests of three rows."""
    rate = np.repeat(random.choice([0.1, 0.5], users), 3 * _WITHIN)
    user = np.repeat(np.arange(users), 3 * _WITHIN)
    return (random.random(len(rate)) < rate).astype(float), user, np.arange(len(rate)) // 3


def test_intervals_over_users_cover_and_over_requests_are_too_narrow_by_a_known_factor() -> None:
    random = np.random.default_rng(0)
    covered: dict[Resample, list[bool]] = {"user": [], "request": []}
    width: dict[Resample, list[float]] = {"user": [], "request": []}
    for _ in range(400):
        label, user, request = _log(random)
        for kind in covered:
            units = units_of(len(label), {"user": user, "request": request}, kind)
            # The mean rate is 0.3: sums of 0.3 over sums of labels are 1 over all logs.
            statistic = PointwiseSums(label, np.full(len(label), 0.3), units.index, len(units))
            found = with_intervals([statistic], len(units), 100, 1)
            low, high = found["calibration_low"], found["calibration_high"]
            covered[kind].append(low <= 1.0 <= high)
            width[kind].append(high - low)
    # Of 400 logs 95 %: standard error 1.1 %.
    assert np.mean(covered["user"]) == pytest.approx(0.95, abs=0.025)
    assert np.mean(covered["request"]) < 0.75
    # A request's mean of three labels has the variance 0.04 + (0.09 / 2 + 0.25 / 2) / 3, 0.04 of it its user's part,
    # which ten share.
    of_user, of_request = 0.04, 0.04 + (0.09 + 0.25) / 6
    factor = math.sqrt(1 + (_WITHIN - 1) * of_user / of_request)
    assert np.mean(width["user"]) / np.mean(width["request"]) == pytest.approx(factor, rel=0.05)


def test_evaluate_draws_users_by_default_and_what_it_is_asked_to() -> None:
    label, user, request = _log(np.random.default_rng(3))
    probability = np.clip(0.3 + np.random.default_rng(4).normal(0, 0.1, len(label)), 0.01, 0.99)
    found = {kind: evaluate(label, probability, user, request, resample=kind) for kind in (None, *RESAMPLES)}
    assert found[None] == found["user"]
    width = {kind: one["logloss_high"] - one["logloss_low"] for kind, one in found.items()}
    assert width["user"] > 1.5 * width["request"] > 1.5 * width["row"]


def test_a_user_is_drawn_whole_by_metrics_of_users_and_of_requests() -> None:
    # Each user's rows are twenty copies of the same two requests: intervals must be as wide as without the copies.
    random = np.random.default_rng(1)
    score, label = random.random((80, 2, 4)), np.zeros((80, 2, 4))
    label[:, :, 0] = 1.0
    user, request = np.repeat(np.arange(80), 8), np.repeat(np.arange(160), 4)
    once = (label.reshape(-1), score.reshape(-1), user, request)
    many = (
        np.tile(label, (20, 1, 1, 1)).reshape(-1),
        np.tile(score, (20, 1, 1, 1)).reshape(-1),
        np.tile(user, 20),
        np.repeat(np.arange(20), 640) * 160 + np.tile(request, 20),
    )
    found = [evaluate(*once, resamples=50), evaluate(*many, resamples=50)]
    for key in ("auc", "logloss", "gauc_request", "uauc", "gauc_user"):
        for end in ("", "_low", "_high"):
            assert found[1][key + end] == pytest.approx(found[0][key + end], abs=1e-9)


def test_many_rows_are_resampled_a_thousand_times_in_seconds() -> None:
    random = np.random.default_rng(2)
    probability = random.beta(1.0, 9.0, 280_000)
    label = (random.random(280_000) < probability).astype(float)
    request = np.arange(280_000) // 10
    start = time.process_time()
    evaluate(label, probability, request % 9000, request, resamples=100)
    # 1,000 take ten times as long, without what is sorted once.
    assert time.process_time() - start < 3
