"""Off-policy estimates: what another policy would have earned, from a log that knows how likely it was to show what."""

import numpy as np

from evaluation.bootstrap import with_intervals
from evaluation.pointwise import ratio
from evaluation.units import Resample, group_indices, units_of

LEAST_PROPENSITY = 1e-3
"""Smaller propensities count as this: a few rows would decide everything."""


def off_policy_value(
    reward: np.ndarray,
    propensity: np.ndarray,
    target: np.ndarray,
    estimate: np.ndarray,
    target_estimate: np.ndarray,
    user_id: np.ndarray,
    request_id: np.ndarray,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
) -> dict[str, float]:
    """Returns the mean reward that a target policy would have had, by two estimators, with 95 % intervals.

    With w = pi(a | x) / mu(a | x) for the logged action a of context x, reward r, q a model of the reward, and
    v(x) = sum over a' of pi(a' | x) q(x, a'):

      `snips_value`           sum(w r) / sum(w)                self-normalized inverse propensity scores
      `doubly_robust_value`   mean(v(x) + w (r - q(x, a)))
      `logged_value`          mean(r)                          of the logging policy
      `effective_sample_size` sum(w)^2 / sum(w^2)

    Args:
      reward: r `[n]`.
      propensity: mu `[n]`, in (0, 1]; less than `LEAST_PROPENSITY` counts as that.
      target: pi of the logged action, `[n]`, in [0, 1].
      estimate: q of the logged action, `[n]`.
      target_estimate: v `[n]`.
      user_id, request_id: `[n]`; units of the bootstrap.
      resamples, seed, resample: as in `evaluation.metrics.evaluate`.

    Source: Swaminathan & Joachims, "The Self-Normalized Estimator for Counterfactual Learning" (NIPS 2015); Dudik et
    al., "Doubly Robust Policy Evaluation and Learning" (ICML 2011).
    """
    weight = target / np.maximum(propensity, LEAST_PROPENSITY)
    groups: dict[Resample, np.ndarray] = {
        "user": group_indices(user_id, len(reward)),
        "request": group_indices(request_id, len(reward)),
    }
    units = units_of(len(reward), groups, resample)
    robust = target_estimate + weight * (reward - estimate)
    per_row = (np.ones(len(reward)), reward, robust, weight, weight * reward)
    sums = [np.bincount(units.index, values, len(units)) for values in per_row]

    def values(counts: np.ndarray) -> dict[str, float | None]:
        rows, rewards, robust_sum, weights, weighted = (float(counts @ one) for one in sums)
        return {
            "logged_value": ratio(rewards, rows),
            "snips_value": ratio(weighted, weights),
            "doubly_robust_value": ratio(robust_sum, rows),
        }

    squares = float((weight**2).sum())
    return {
        **with_intervals([values], len(units), resamples, seed),
        "effective_sample_size": float(weight.sum() ** 2 / squares) if squares else 0.0,
        "matched_rows": float((target > 0).sum()),
        "clipped_propensities": float((propensity < LEAST_PROPENSITY).sum()),
    }
