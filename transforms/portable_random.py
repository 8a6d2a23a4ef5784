"""Random draws whose bits are the same on every processor: inverse distribution functions of uniform bits.

`Generator.random`, `integers` and `permutation` are exact by themselves. NumPy's other distributions call the C
library's logarithms, which differ in the last bit.
"""

import numpy as np

from transforms.portable_math import Doubles, exp, in_blocks, log, polynomial

SIMULATOR_VERSION = 2
"""In `origin` of a simulated dataset. Version 1, which its datasets do not name, drew other numbers from a seed, and
not the same ones on every processor."""

Shape = int | tuple[int, ...]

_LEAST = 2.0**-54
# Wichura's algorithm AS 241, PPND7: the normal quantile to about seven digits.
_CENTRE = (
    (59.109374720, 159.29113202, 50.434271938, 3.3871327179),
    (67.187563600, 78.757757664, 17.895169469, 1.0),
)
_MIDDLE = ((0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777), (0.12021132975, 0.73700164250, 1.0))
_TAIL = ((0.017337203997, 0.42868294337, 3.0812263860, 6.6579051150), (0.012258202635, 0.24197894225, 1.0))
_CENTRE_HALF_WIDTH, _MIDDLE_END = 0.425, 5.0


def uniform(rng: np.random.Generator, shape: Shape) -> Doubles:
    """Draws from the open interval (0, 1)."""
    drawn: Doubles = np.maximum(rng.random(shape), _LEAST)
    return drawn


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Draws from N(0, 1), float32."""
    return normal_quantile(uniform(rng, shape)).astype(np.float32)


def gumbel(rng: np.random.Generator, shape: Shape) -> Doubles:
    """Draws from the standard Gumbel distribution: -ln(-ln u)."""
    # -ln u of the largest u, 1 - 2^-53, is not 0.
    drawn: Doubles = -log(-log(uniform(rng, shape)))
    return drawn


def exponential(rng: np.random.Generator, mean: float, shape: Shape) -> Doubles:
    """Draws from the exponential distribution."""
    drawn: Doubles = -mean * log(uniform(rng, shape))
    return drawn


def poisson(rng: np.random.Generator, mean: float, shape: Shape, most: int) -> np.ndarray:
    """Draws from min(Poisson(mean), most), int64; `most` is 1 or more."""
    drawn = uniform(rng, shape)
    if mean == 0.0:
        return np.zeros(drawn.shape, np.int64)
    counts = np.arange(1.0, most)
    log_share = np.concatenate([[-mean], counts * log(mean) - mean - np.cumsum(log(counts))])
    return np.searchsorted(np.cumsum(exp(log_share)), drawn, side="right")


def normal_quantile(probability: Doubles) -> Doubles:
    """The x with P(N(0, 1) <= x) = p, for p in (0, 1); to about 1e-7."""
    return in_blocks(_normal_quantile, probability)


def _normal_quantile(p: Doubles) -> Doubles:
    q = p - 0.5
    r = _CENTRE_HALF_WIDTH**2 - q * q
    quantile = q * polynomial(_CENTRE[0], r)
    quantile /= polynomial(_CENTRE[1], r)
    outside = np.flatnonzero(r < 0.0)
    q = q[outside]
    r = np.sqrt(-log(np.minimum(p[outside], 1.0 - p[outside])))
    far = r > _MIDDLE_END
    size = polynomial(_MIDDLE[0], r - 1.6) / polynomial(_MIDDLE[1], r - 1.6)
    if far.any():
        size[far] = polynomial(_TAIL[0], r[far] - 5.0) / polynomial(_TAIL[1], r[far] - 5.0)
    quantile[outside] = np.where(q < 0.0, -size, size)
    return quantile
