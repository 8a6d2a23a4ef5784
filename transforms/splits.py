"""Splits of rows at random, by seed and ordinal alone."""

import numpy as np

SPLIT_ENDS = (0.8, 0.9, 1.0)
"""Where train, eval and test end: 8:1:1."""


def mixed_bits(values: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64: a one-to-one scramble of 64-bit numbers; [n] uint64 -> [n] uint64."""
    for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(multiplier)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


def random_splits(ordinals: np.ndarray, seed: int) -> np.ndarray:
    """Split number of each row, 0, 1, 2 for train, eval, test with odds 8:1:1, by seed and ordinal alone.

    Args:
      ordinals: [n] place of each row in the data, 0 first.
      seed: another seed gives another split.
    """
    start = np.uint64(seed * 0xD1B54A32D192ED03 % (1 << 64))
    with np.errstate(over="ignore"):
        bits = mixed_bits((ordinals.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start)
    tenth = bits % np.uint64(10)
    return np.where(tenth < 8, 0, tenth.astype(np.int64) - 7)
