"""Draws by inverse distribution functions, against moments and quantiles of the distributions."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.portable_random import exponential, gumbel, normal, normal_quantile, poisson

DRAWS = 200_000


def generator(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.floats(2.0**-54, 1 - 2.0**-53))
def test_the_normal_quantile_inverts_the_distribution_function(probability: float) -> None:
    quantile = float(normal_quantile(np.array([probability]))[0])
    assert quantile == pytest.approx(NormalDist().inv_cdf(probability), rel=3e-7, abs=1e-9)


def test_normal_draws_have_the_moments_of_the_normal_distribution() -> None:
    drawn = normal(generator(), (2, DRAWS)).astype(np.float64)
    assert drawn.shape == (2, DRAWS)
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert (drawn**power).mean() == pytest.approx(moment, abs=0.04)


def test_gumbel_draws_choose_in_proportion_to_the_exponential_of_the_logit() -> None:
    logits = np.log([1.0, 2.0, 5.0])
    chosen = np.argmax(logits + gumbel(generator(), (DRAWS, 3)), axis=1)
    np.testing.assert_allclose(np.bincount(chosen) / DRAWS, [0.125, 0.25, 0.625], atol=0.005)


def test_exponential_draws_have_their_mean_and_spread() -> None:
    drawn = exponential(generator(), 3.0, DRAWS)
    assert drawn.min() > 0
    assert (drawn.mean(), drawn.std()) == pytest.approx((3.0, 3.0), rel=0.02)


@pytest.mark.parametrize("mean", [0.3, 4.0, 900.0])
def test_poisson_draws_have_the_mean_as_variance(mean: float) -> None:
    drawn = poisson(generator(), mean, DRAWS, most=2000)
    assert (drawn.mean(), drawn.var()) == pytest.approx((mean, mean), rel=0.02)


def test_poisson_draws_follow_their_shares_and_stop_at_the_most() -> None:
    drawn = poisson(generator(), 2.0, DRAWS, most=3)
    shares = [math.exp(-2), 2 * math.exp(-2), 2 * math.exp(-2), 1 - 5 * math.exp(-2)]
    np.testing.assert_allclose(np.bincount(drawn) / DRAWS, shares, atol=0.005)
    assert poisson(generator(), 5.0, 100, most=1).max() == 1
    assert poisson(generator(), 0.0, 5, most=4).tolist() == [0] * 5
