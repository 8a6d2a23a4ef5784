"""Functions made of exact operations, against Python's `math` and `fractions`."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.portable_math import dot, exp, log, power, sigmoid, sine_of_turns, total


@given(st.floats(-708, 709))
def test_exp_is_the_exponential_to_the_last_bits(x: float) -> None:
    assert float(exp(x)) == pytest.approx(math.exp(x), rel=4e-16)


@given(st.floats(2.3e-308, 1e308))
def test_log_is_the_natural_logarithm_to_the_last_bits(x: float) -> None:
    assert float(log(x)) == pytest.approx(math.log(x), rel=4e-16, abs=1e-300)


def test_exp_and_log_are_exact_where_the_result_is_known() -> None:
    assert exp(np.array([0.0, -0.0])).tolist() == [1.0, 1.0]
    assert float(log(1.0)) == 0.0
    assert exp(np.array([-1e9, 1e9])).tolist() == exp(np.array([-708.0, 709.0])).tolist()


def test_logarithms_near_one_keep_their_digits() -> None:
    for x in (1 - 2.0**-53, 1 + 2.0**-52, 1 + 1e-9):
        assert float(log(x)) == pytest.approx(math.log(x), rel=4e-16)


@given(st.floats(1e-6, 1e6), st.floats(-5, 5))
def test_power_is_the_power(base: float, exponent: float) -> None:
    assert float(power(base, exponent)) == pytest.approx(base**exponent, rel=1e-13)


@given(st.floats(-1e5, 1e5))
def test_the_sine_of_turns_repeats_every_turn(turns: float) -> None:
    part = float(Fraction(turns) - round(Fraction(turns)))
    assert float(sine_of_turns(turns)) == pytest.approx(math.sin(2 * math.pi * part), abs=1e-15)


def test_sines_of_quarter_turns() -> None:
    np.testing.assert_allclose(sine_of_turns([0.0, 0.25, 0.5, 0.75, 19675.25]), [0, 1, 0, -1, 1], atol=2e-16)


def test_sigmoid_of_any_logit_is_a_probability() -> None:
    np.testing.assert_allclose(sigmoid([0.0, math.log(3.0), -math.log(3.0)]), [0.5, 0.75, 0.25], rtol=1e-15)
    assert sigmoid([-1e6, 1e6]).tolist() == pytest.approx([0.0, 1.0], abs=1e-300)


def test_shapes_are_kept_over_more_than_a_block_and_for_nothing() -> None:
    values = np.linspace(-3, 3, 60_000).reshape(3, 4, 5000)
    assert exp(values).shape == values.shape
    np.testing.assert_allclose(log(exp(values)), values, atol=1e-15)
    assert exp(values.T).tolist() == exp(values).T.tolist()
    assert exp(np.zeros((0, 3))).shape == (0, 3)


def test_a_total_adds_from_the_first_term_to_the_last() -> None:
    # 1 is lost beside 2^53, and 2 x 2^53 + 1 + 1 is not.
    assert float(total(np.array([2.0**53, 1.0, 1.0]))) == 2.0**53
    assert float(total(np.array([1.0, 1.0, 2.0**53]))) == 2.0**53 + 2
    assert total(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist() == [4.0, 6.0]
    assert total(np.zeros((2, 0))).tolist() == [0.0, 0.0]


def test_a_product_of_vectors_runs_over_the_first_axis() -> None:
    left, right = np.array([[[1.0], [2.0]], [[3.0], [4.0]]]), np.array([[[10.0, 20.0]], [[1.0, 2.0]]])
    assert dot(left, right).tolist() == [[13.0, 26.0], [24.0, 48.0]]
