"""Functions whose results are the same bits on every processor.

NumPy's `exp`, `log`, `sin` and `**`, matrix products and the C library's functions give other last bits from one
instruction set, or library, to the next. Everything here is made of operations that IEEE 754 defines to the bit,
each on one pair of numbers at a time: + - * / sqrt, comparisons, rounding to whole numbers, and shifts of the bits.
Polynomials of `exp` and `log` are those of FreeBSD's msun (fdlibm).
"""

from collections.abc import Callable
from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

_BLOCK = 1 << 14
"""Numbers handled at once: the temporary arrays stay in the processor's cache."""
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2_E = 1.44269504088896338700
_EXP = (
    4.13813679705723846039e-08, -1.65339022054652515390e-06, 6.61375632143793436117e-05,
    -2.77777777770155933842e-03, 1.66666666666666019037e-01,
)  # fmt: skip
_LOG = (
    1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
    2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01,
)  # fmt: skip
_SINE = tuple((1 - k % 2 * 2) / factorial(2 * k + 1) for k in range(10, -1, -1))
_LOWEST, _HIGHEST = -708.0, 709.0
_SQRT_HALF_BITS = np.int64(0x3FE6A09E667F3BCD)
_MANTISSA_BITS, _EXPONENT_BIAS = np.int64(52), np.int64(1023)


def exp(values: ArrayLike) -> Doubles:
    """e^x, float64, to about 1e-16 of the result; x is taken as -708 or 709 beyond these; NaN is not allowed."""
    return in_blocks(_exp, values)


def log(values: ArrayLike) -> Doubles:
    """Natural logarithm, float64, to about 1e-16, of finite numbers above 2.3e-308 (no zero, no NaN)."""
    return in_blocks(_log, values)


def power(base: ArrayLike, exponent: float) -> Doubles:
    """base^exponent of positive numbers, float64."""
    return exp(exponent * log(base))


def sigmoid(logits: ArrayLike) -> Doubles:
    """1 / (1 + e^-x), float64."""
    probability: Doubles = 1.0 / (1.0 + exp(-np.asarray(logits, np.float64)))
    return probability


def sine_of_turns(turns: ArrayLike) -> Doubles:
    """sin(2 pi x), float64, to about 1e-15."""
    return in_blocks(_sine_of_turns, turns)


def total(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Sum along an axis, term after term from the first to the last, so that it is always rounded alike."""
    if values.shape[axis] == 0:
        return np.zeros_like(values).sum(axis=axis)
    summed: np.ndarray = np.cumsum(values, axis=axis).take(-1, axis=axis)
    return summed


def dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sum of the products over the first axis, term after term; [D, ...] and [D, ...] -> [...], broadcast."""
    summed: np.ndarray = left[0] * right[0]
    for a, b in zip(left[1:], right[1:], strict=True):
        summed += a * b
    return summed


def polynomial(coefficients: tuple[float, ...], x: Doubles) -> Doubles:
    """The polynomial with these coefficients, highest power first (two or more), by Horner's rule."""
    value = coefficients[0] * x
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= x
    value += coefficients[-1]
    return value


def in_blocks(function: Callable[[Doubles], Doubles], values: ArrayLike) -> Doubles:
    """Calls a function of each number on blocks small enough for the processor's cache."""
    array = np.asarray(values, np.float64)
    flat, result = array.reshape(-1), np.empty(array.size)
    for start in range(0, array.size, _BLOCK):
        result[start : start + _BLOCK] = function(flat[start : start + _BLOCK])
    return result.reshape(array.shape)


def _exp(x: Doubles) -> Doubles:
    x = np.minimum(np.maximum(x, _LOWEST), _HIGHEST)
    # x = k ln 2 + r with |r| <= ln(2) / 2.
    k = np.floor(_LOG2_E * x + 0.5)
    high, low = x - k * _LN2_HIGH, k * _LN2_LOW
    r = high - low
    square = r * r
    c = r - square * polynomial(_EXP, square)
    mantissa: Doubles = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    mantissa *= ((k.astype(np.int64) + _EXPONENT_BIAS) << _MANTISSA_BITS).view(np.float64)
    return mantissa


def _log(x: Doubles) -> Doubles:
    # x = 2^k m with m between the square roots of 1/2 and 2; log m = 2 artanh s.
    bits = np.ascontiguousarray(x).view(np.int64)
    k = (bits - _SQRT_HALF_BITS) >> _MANTISSA_BITS
    f: Doubles = (bits - (k << _MANTISSA_BITS)).view(np.float64) - 1.0
    s: Doubles = f / (f + 2.0)
    square = s * s
    half = 0.5 * f * f
    exponent = k.astype(np.float64)
    tail = s * (half + square * polynomial(_LOG, square)) + exponent * _LN2_LOW
    value: Doubles = exponent * _LN2_HIGH - ((half - tail) - f)
    return value


def _sine_of_turns(turns: Doubles) -> Doubles:
    turn = turns - np.floor(turns + 0.5)
    # sin(pi - x) = sin x brings the angle to at most a quarter of a turn.
    folded = np.where(np.abs(turn) > 0.25, np.where(turn > 0, 0.5, -0.5) - turn, turn)
    angle: Doubles = 2.0 * np.pi * folded
    return angle * polynomial(_SINE, np.square(angle))
