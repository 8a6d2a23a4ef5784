"""Off-policy estimates by hand, and against a policy whose value is known."""

import numpy as np
import pytest

from evaluation.off_policy import LEAST_PROPENSITY, off_policy_value


def _value(reward, propensity, target, estimate, target_estimate, resamples=0):
    first, second, *others = (np.asarray(one, float) for one in (reward, propensity, target, estimate, target_estimate))
    ids = np.full(len(reward), b"")
    return off_policy_value(first, second, others[0], others[1], others[2], ids, ids, resamples)


def test_snips_and_doubly_robust_by_hand():
    result = _value([1, 0, 1, 0], [0.5, 0.25, 0.5, 0.5], [1, 1, 0, 0], [0.6, 0.2, 0.5, 0.1], [0.6, 0.2, 0.7, 0.4])
    # w = 2, 4, 0, 0.
    assert result["snips_value"] == pytest.approx(2 / 6)
    assert result["doubly_robust_value"] == pytest.approx((0.6 + 2 * 0.4 + 0.2 + 4 * -0.2 + 0.7 + 0.4) / 4)
    assert result["logged_value"] == 0.5
    assert result["effective_sample_size"] == pytest.approx(36 / 20)
    assert result["matched_rows"] == 2


def test_tiny_propensities_are_raised_and_counted():
    result = _value([1, 0], [1e-6, 0.5], [1, 1], [0, 0], [0, 0])
    assert result["clipped_propensities"] == 1
    assert result["snips_value"] == pytest.approx((1 / LEAST_PROPENSITY) / (1 / LEAST_PROPENSITY + 2))


def test_both_estimators_cover_the_value_of_a_known_policy():
    rng = np.random.default_rng(1)
    truth, logging = np.array([0.1, 0.3, 0.6]), np.array([0.6, 0.3, 0.1])
    action = rng.choice(3, 20_000, p=logging)
    reward = (rng.random(len(action)) < truth[action]).astype(float)
    # A reward model that is wrong everywhere: the doubly robust estimate mends it.
    model = np.array([0.3, 0.3, 0.3])
    result = _value(reward, logging[action], action == 2, model[action], np.full(len(action), 0.3), resamples=200)
    for name in ("snips_value", "doubly_robust_value"):
        assert result[f"{name}_low"] < 0.6 < result[f"{name}_high"]
        assert result[name] == pytest.approx(0.6, abs=0.05)


def test_without_a_matching_row_there_is_no_snips():
    result = _value([1, 0], [0.5, 0.5], [0, 0], [0.2, 0.2], [0.4, 0.4])
    assert "snips_value" not in result
    assert result["effective_sample_size"] == 0
    assert result["doubly_robust_value"] == pytest.approx(0.4)
