import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from evaluation.metrics import evaluate
from evaluation.pointwise import (
    auc,
    calibration,
    ece,
    gauc_request,
    gauc_user,
    logloss,
    normalized_entropy,
    uauc,
)
from evaluation.units import group_indices

_LABEL = np.array([1, 0, 1, 0, 0.0])
_PROBABILITY = np.array([0.8, 0.8, 0.3, 0.1, 0.4])


def _random(size: int, seed: int = 0, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    probability = random.random(size)
    label = (random.random(size) < probability).astype(float)
    return label, np.round(probability, 1) if ties else probability


def test_auc_by_hand() -> None:
    # Pairs: 0.8 against 0.8 a tie, 0.1, 0.4; 0.3 against 0.8, 0.1, 0.4: 0.5 + 1 + 1 + 0 + 1 + 0 of 6
    assert auc(_LABEL, _PROBABILITY) == pytest.approx(3.5 / 6)


def test_auc_weighs_pairs_by_the_product_of_weights() -> None:
    weight = np.array([2, 1, 1, 3, 0.0])
    # 2*1*0.5 + 2*3 + 1*3*1 of 3 * 4
    assert auc(_LABEL, _PROBABILITY, weight) == pytest.approx((1 + 6 + 3) / 12)


def test_a_soft_label_is_a_positive_and_a_negative() -> None:
    hard = auc(np.array([1, 0, 1, 0.0]), np.array([0.9, 0.9, 0.2, 0.2]), np.array([0.7, 0.3, 0.4, 0.6]))
    assert auc(np.array([0.7, 0.4]), np.array([0.9, 0.2])) == pytest.approx(hard)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_log_loss_are_those_of_scikit_learn(ties: bool) -> None:
    label, probability = _random(500, ties=ties)
    weight = np.random.default_rng(1).random(500)
    assert auc(label, probability) == pytest.approx(roc_auc_score(label, probability), abs=1e-12)
    expected = roc_auc_score(label, probability, sample_weight=weight)
    assert auc(label, probability, weight) == pytest.approx(expected, abs=1e-12)
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    assert logloss(label, probability, weight) == pytest.approx(log_loss(label, clipped, sample_weight=weight))


def test_log_loss_clips() -> None:
    assert logloss(np.array([1.0, 0.0]), np.array([0.0, 0.0])) == pytest.approx((-math.log(1e-7) + 1e-7) / 2)


def test_normalized_entropy_of_the_base_rate_is_one() -> None:
    label = np.array([1, 0, 0, 0.0])
    assert normalized_entropy(label, np.full(4, 0.25)) == pytest.approx(1)
    # log loss -ln(0.5) over the entropy of 1/4
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert normalized_entropy(label, np.full(4, 0.5)) == pytest.approx(math.log(2) / entropy)
    assert normalized_entropy(np.ones(4), np.full(4, 0.5)) is None


def test_calibration_by_hand() -> None:
    assert calibration(_LABEL, _PROBABILITY) == pytest.approx(2.4 / 2)
    assert calibration(_LABEL, _PROBABILITY, np.array([1, 0, 0, 0, 2.0])) == pytest.approx(1.6)
    assert calibration(np.zeros(5), _PROBABILITY) is None


def test_ece_by_hand() -> None:
    # 30 examples, two a bin: labels 1 and 0 in every bin, so that each bin's mean label is 1/2.
    probability = np.sort(np.random.default_rng(0).random(30))
    label = np.tile([1.0, 0.0], 15)
    gaps = np.abs(probability.reshape(15, 2).mean(1) - 0.5)
    assert ece(label, probability) == pytest.approx(gaps.mean())
    order = np.random.default_rng(1).permutation(30)
    assert ece(label[order], probability[order]) == pytest.approx(gaps.mean())


def test_ece_keeps_equal_probabilities_in_one_bin() -> None:
    # Split over bins by position, the ones and the zeros would each look uncalibrated.
    assert ece(np.repeat([1.0, 0.0], 50), np.full(100, 0.5)) == pytest.approx(0)


def _loop(label: np.ndarray, probability: np.ndarray, ids: np.ndarray, by_size: bool) -> float:
    """Mean of scikit-learn's AUCs, one group after the other."""
    values, weights = [], []
    for one in np.unique(ids):
        rows = ids == one
        if 0 < label[rows].sum() < rows.sum() and one not in (b"", ""):
            values.append(roc_auc_score(label[rows], probability[rows]))
            weights.append(rows.sum() if by_size else 1)
    return float(np.average(values, weights=weights))


@pytest.mark.parametrize(("metric", "by_size"), [(gauc_user, True), (uauc, False), (gauc_request, False)])
@pytest.mark.parametrize(
    "form", [lambda ids: ids.astype("S"), lambda ids: ids.astype("U"), lambda ids: ids.astype("S").astype(object)]
)
def test_grouped_metrics_are_means_of_the_groups(
    metric: Callable[..., float | None], by_size: bool, form: Callable[[np.ndarray], np.ndarray]
) -> None:
    label, probability = _random(400)
    ids = form(np.random.default_rng(2).integers(0, 60, 400) ** 2)
    assert metric(label, probability, ids) == pytest.approx(_loop(label, probability, ids, by_size), abs=1e-12)


def test_user_means_by_hand() -> None:
    label = np.array([1, 0, 0, 1, 0, 1, 1.0])
    probability = np.array([0.5, 0.4, 0.6, 0.2, 0.3, 0.9, 0.8])
    user = np.array([b"a", b"a", b"a", b"b", b"b", b"c", b"c"])
    # a: 1 of 2 pairs, 3 impressions; b: 0 of 1, 2 impressions; c has no negative.
    assert gauc_user(label, probability, user) == pytest.approx((0.5 * 3 + 0 * 2) / 5)
    assert uauc(label, probability, user) == pytest.approx(0.25)


def _objects(*values: Any) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


_USERS = np.random.default_rng(3).integers(0, 40, 300)
_IDS = {
    "bytes": (_USERS.astype("S"), b""),
    "strings": (_USERS.astype("U"), ""),
    "int64": (_USERS, -1),
    "int32": (_USERS.astype(np.int32), -1),
    "float32 with NaN": (_USERS.astype(np.float32), math.nan),
    "floats with -1": (_USERS.astype(float), -1.0),
    "times": (_USERS.astype("datetime64[s]"), np.datetime64("NaT")),
    "objects, bytes": (_objects(*(b"%d" % user for user in _USERS)), b""),
    "objects, strings with None": (_objects(*map(str, _USERS)), None),
    "objects, bytes with NaN": (_objects(*(b"%d" % user for user in _USERS)), math.nan),
    "objects, strings with NA": (_objects(*map(str, _USERS)), pd.NA),
    "objects, integers with NA": (_objects(*_USERS.tolist()), pd.NA),
    "objects, integers with -1": (_objects(*_USERS.tolist()), -1),
    "objects, integers with NaN of NumPy": (_objects(*_USERS.tolist()), np.float32("nan")),
    "objects, integers with NaT": (_objects(*_USERS.tolist()), pd.NaT),
}


@pytest.mark.parametrize("metric", [gauc_user, uauc, gauc_request])
@pytest.mark.parametrize(("ids", "missing"), _IDS.values(), ids=_IDS)
def test_rows_without_an_id_belong_to_no_group(
    metric: Callable[..., float | None], ids: np.ndarray, missing: Any
) -> None:
    label, probability = _random(300)
    part = ids.copy()
    part[:100] = missing
    expected = _loop(label[100:], probability[100:], _USERS[100:], metric is gauc_user)
    assert metric(label, probability, part) == pytest.approx(expected, abs=1e-12)
    part[:] = missing
    assert metric(label, probability, part) is None


def test_ids_of_pandas_and_masked_ones_may_be_missing_too() -> None:
    label, probability = _random(300)
    expected = _loop(label[100:], probability[100:], _USERS[100:], by_size=False)
    mask = np.arange(300) < 100
    names = [str(user) for user in _USERS]
    forms: tuple[Any, ...] = (pd.array(_USERS.tolist(), "Int64"), pd.array(names, "string"), pd.Categorical(_USERS))
    for ids in forms:
        ids[:100] = None
        assert uauc(label, probability, ids) == pytest.approx(expected, abs=1e-12)
    assert uauc(label, probability, np.ma.masked_array(_USERS, mask)) == pytest.approx(expected, abs=1e-12)


def test_ids_that_differ_in_their_last_bytes_or_in_their_type_are_different() -> None:
    assert group_indices(_objects(b"u", b"u\0", b"u", "u"), 4).tolist() == [0, 1, 0, 2]
    assert group_indices(np.array([2**63, 2**63 + 1, 2**63], np.uint64), 3).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="unhashable type: 'list'; expected bytes, strings or numbers"):
        group_indices(_objects([1], [2]), 2)


def test_how_many_rows_have_no_id_is_told() -> None:
    data = _data()
    data["user_id"][:7] = b""
    found = evaluate(**data, resamples=0)
    assert found["rows_without_user"] == 7 and "rows_without_request" not in found
    data["request_id"][:2] = b""
    assert evaluate(**data, resamples=0)["rows_without_request"] == 2
    # Where nobody has an id there is no metric that could leave anybody out.
    data["user_id"][:] = b""
    assert "rows_without_user" not in evaluate(**data, resamples=0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40))
def test_grouped_auc_is_right_for_any_small_data(rows: list[tuple[bool, int, int]]) -> None:
    label, score, ids = (np.array(column, float) for column in zip(*rows, strict=True))
    values = []
    for one in range(4):
        positives, negatives = score[(ids == one) & (label == 1)], score[(ids == one) & (label == 0)]
        if len(positives) and len(negatives):
            difference = positives[:, None] - negatives
            values.append(((difference > 0) + 0.5 * (difference == 0)).mean())
    found = uauc(label, score / 5, ids.astype(int))
    assert found == (pytest.approx(np.mean(values)) if values else None)


def _data(size: int = 600) -> dict[str, Any]:
    label, probability = _random(size, ties=False)
    random = np.random.default_rng(4)
    request = np.sort(random.integers(0, size // 6, size))
    return {
        "label": label,
        "probability": probability,
        "request_id": np.char.mod("r%d", request).astype("S"),
        "user_id": np.char.mod("u%d", request % 23).astype("S"),
    }


def test_evaluate_gives_each_metric_with_an_interval_around_it() -> None:
    data = _data()
    result = evaluate(**data, resamples=100)
    label, probability = data["label"], data["probability"]
    expected = {
        "auc": auc(label, probability),
        "logloss": logloss(label, probability),
        "ne": normalized_entropy(label, probability),
        "ece": ece(label, probability),
        "calibration": calibration(label, probability),
        "gauc_user": gauc_user(label, probability, data["user_id"]),
        "uauc": uauc(label, probability, data["user_id"]),
        "gauc_request": gauc_request(label, probability, data["request_id"]),
    }
    assert {key: result[key] for key in expected} == pytest.approx(expected)
    # 23 users; of request % 23 and 100 requests all are there.
    assert result.pop("resampled_users") == 23
    assert set(result) == {key + end for key in expected for end in ("", "_low", "_high")}
    for key in set(expected) - {"ece"}:
        assert result[f"{key}_low"] < result[key] < result[f"{key}_high"]


def test_evaluate_is_repeatable_and_its_seed_matters() -> None:
    results = [evaluate(**_data(), resamples=20, seed=seed) for seed in (1, 1, 2)]
    assert results[0] == results[1] != results[2]


def test_interval_of_a_mean_has_the_width_of_theory() -> None:
    label = np.tile([1.0, 0.0], 1000)
    result = evaluate(label, np.full(2000, 0.5), resamples=400)
    # calibration = 0.5 / mean(y): standard error of the mean sqrt(0.25 / 2000), times 0.5 / 0.5^2, 1.96 on each side
    half = 1.96 * math.sqrt(0.25 / 2000) * 2
    assert result["calibration_high"] - result["calibration_low"] == pytest.approx(2 * half, rel=0.15)


def test_rows_of_one_request_are_drawn_together() -> None:
    # Each request's rows are ten copies of one row: the interval must be as wide as without the copies.
    label, probability = _random(200, ties=False)
    alone = evaluate(label, probability, resamples=300)
    copies = evaluate(
        np.repeat(label, 10), np.repeat(probability, 10), request_id=np.repeat(np.arange(200), 10), resamples=300
    )
    rows = evaluate(np.repeat(label, 10), np.repeat(probability, 10), resamples=300)
    widths = [result["auc_high"] - result["auc_low"] for result in (alone, copies, rows)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)
    assert widths[2] < widths[0] / 2


def test_what_is_not_defined_is_left_out() -> None:
    probability = np.array([0.2, 0.4, 0.6])
    result = evaluate(np.zeros(3), probability, np.array([b"", b"", b""]), np.array([b"1", b"2", b"3"]), resamples=5)
    assert {key for key in result if not key.endswith(("_low", "_high"))} == {"logloss", "ece", "resampled_requests"}
    assert evaluate(np.empty(0), np.empty(0)) == {}


def test_no_resamples_no_intervals() -> None:
    assert set(evaluate(_LABEL, _PROBABILITY, resamples=0)) == {"auc", "logloss", "ne", "ece", "calibration"}


@pytest.mark.parametrize(
    ("label", "probability", "message"),
    [
        ([0.0, 1.0], [0.5], "shapes"),
        ([[0.0, 1.0]], [[0.5, 0.5]], "exposed candidates"),
        ([0.0, 2.0], [0.5, 0.5], r"label: 1 of 2 values are wrong, the first, 2\.0, in row 1"),
        ([0.0, math.nan], [0.5, 0.5], r"label: 1 of 2 values are wrong, the first, nan, in row 1"),
        (
            [0.0, 1.0],
            [-3.0, -2.0],
            r"probability: 2 of 2 values are wrong, the first, -3\.0, in row 0.*a sigmoid",
        ),
        ([0.0, 1.0], [0.5, math.nan], r"probability: 1 of 2 values are wrong, the first, nan, in row 1"),
    ],
)
def test_wrong_values_are_refused(label: list[float], probability: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(np.array(label), np.array(probability))


def test_wrong_weights_and_ids_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight: 1 of 5 values are wrong, the first, -1\.0, in row 4"):
        auc(_LABEL, _PROBABILITY, np.array([1, 1, 1, 1, -1.0]))
    with pytest.raises(ValueError, match="one id a row"):
        uauc(_LABEL, _PROBABILITY, np.array([b"a"]))


def test_many_groups_take_no_loop() -> None:
    label, probability = _random(200_000, ties=False)
    ids = np.random.default_rng(5).integers(0, 50_000, 200_000)
    start = time.process_time()
    assert gauc_user(label, probability, ids) is not None
    assert time.process_time() - start < 2  # A loop over 50,000 groups takes a minute.
