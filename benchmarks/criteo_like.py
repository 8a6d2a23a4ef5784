"""Writes raw files of Criteo's shape, for speed measurements and tests: the format, not the data."""

import os
from collections.abc import Callable

import numpy as np

from simulation.ctr_log import hex_text
from transforms.arrow import pa, pc
from transforms.files import replacing_file
from transforms.portable_math import exp, log, sigmoid
from transforms.portable_random import normal
from transforms.splits import mixed_bits

_BLOCK_ROWS = 100_000

Fields = list[pa.Array]


def write_lines(
    path: str | os.PathLike[str],
    rows: int,
    seed: int,
    delimiter: str,
    fields: Callable[[int, int, np.random.Generator], Fields],
    header: bytes = b"",
) -> None:
    """Writes lines of generated fields, whole or not at all.

    Args:
      path: file to write.
      rows: number of lines.
      seed: equal seeds and rows give equal files.
      delimiter: between fields.
      fields: called with the first row of a block, its size and a generator; gives text columns in order.
      header: written first, as it is.
    """
    with replacing_file(path) as temporary, open(temporary, "wb") as file:
        file.write(header)
        for block, start in enumerate(range(0, rows, _BLOCK_ROWS)):
            size = min(_BLOCK_ROWS, rows - start)
            columns = fields(start, size, np.random.default_rng([seed, block]))
            lines = pc.binary_join_element_wise(*columns, delimiter)
            text = pc.binary_join(pa.ListArray.from_arrays([0, size], lines), "\n")[0]
            file.write(text.as_buffer().to_pybytes() + b"\n")


def log_uniform_ranks(rows: int, cardinality: int, rng: np.random.Generator) -> np.ndarray:
    """Ranks below `cardinality` with heavy tails: uniform in their logarithm, so that most ids are rare."""
    ranks: np.ndarray = (exp(rng.random(rows) * log(cardinality + 1.0)) - 1.0).astype(np.uint64)
    return ranks


def integer_text(values: np.ndarray) -> pa.Array:
    """Integers in decimal."""
    return pa.array(values).cast(pa.string())


def hash_effects(hashes: np.ndarray) -> np.ndarray:
    """An effect of mean 0 and standard deviation 1 for each hash, by its high bits."""
    effects: np.ndarray = ((hashes >> np.uint64(40)).astype(np.float64) / (1 << 24) * 2.0 - 1.0) * np.sqrt(3.0)
    return effects


def clicked(logit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of 0 and 1, int64, drawn with the probabilities sigmoid(logit)."""
    return (rng.random(len(logit)) < sigmoid(logit)).astype(np.int64)


# Ids per category in the full data set; draws are log-uniform over ranks, so most ids are rare.
_CARDINALITIES = (
    1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194,
    27, 14_992, 5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
)  # fmt: skip
# C3, C4, C12, C16, C21, C24 are missing together, and so are C19, C20, C25, C26: groups 1 and 2.
_MISSING_GROUPS = {2: 1, 3: 1, 11: 1, 15: 1, 20: 1, 23: 1, 18: 2, 19: 2, 24: 2, 25: 2}
_MISSING_SHARES = {1: 0.03, 2: 0.45}
_MISSING_ALONE = {5: 0.13, 21: 0.82}
_NUMBER_MISSING = (0.45, 0.0, 0.20, 0.20, 0.05, 0.25, 0.05, 0.001, 0.05, 0.45, 0.05, 0.78, 0.20)
_NUMBER_MEAN_LOG = (0.8, 1.5, 2.0, 1.6, 7.5, 3.3, 1.6, 2.1, 3.8, 0.4, 0.9, 0.2, 1.6)
_NUMBER_SPREAD = (1.0, 2.0, 1.3, 1.0, 2.2, 1.6, 1.3, 0.9, 1.3, 0.5, 0.9, 0.8, 1.0)
_WEIGHT_NUMBER, _WEIGHT_CATEGORY, _INTERCEPT = 0.25, 0.28, -1.2


def write_criteo_like(path: str | os.PathLike[str], rows: int, seed: int = 0) -> None:
    """Writes `rows` lines of label, I1-I13, C1-C26 with about 25 % positives that a model can learn.

    Categories have the full data set's cardinalities and heavy tails (several hundred thousand ids of
    C3, C12, C16 and C21 in a million rows); missing shares are those of the real head.

    Args:
      path: file to write, whole or not at all.
      rows: number of lines.
      seed: equal seeds and rows give equal files.
    """
    write_lines(path, rows, seed, "\t", _fields)


def _fields(start: int, rows: int, rng: np.random.Generator) -> Fields:
    missing = {group: rng.random(rows) < share for group, share in _MISSING_SHARES.items()}
    logit = np.full(rows, _INTERCEPT)
    fields = []
    for index in range(len(_NUMBER_MISSING)):
        field, effect = _numbers(index, rows, rng)
        fields.append(field)
        logit += effect
    for index, cardinality in enumerate(_CARDINALITIES):
        ranks = log_uniform_ranks(rows, cardinality, rng)
        absent = missing.get(_MISSING_GROUPS.get(index, 0), rng.random(rows) < _MISSING_ALONE.get(index, 0.0))
        hashes = mixed_bits(ranks + np.uint64((index + 1) << 32))
        logit += np.where(absent, 0.0, _WEIGHT_CATEGORY * hash_effects(hashes))
        fields.append(_text(hex_text(hashes), absent))
    return [integer_text(clicked(logit, rng)), *fields]


def _numbers(index: int, rows: int, rng: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    z = normal(rng, rows).astype(np.float64)
    values = np.floor(exp(_NUMBER_MEAN_LOG[index] + _NUMBER_SPREAD[index] * z)).astype(np.int64)
    if index == 1:  # I2 alone has codes below 0
        values = np.where(rng.random(rows) < 0.1, -1, values)
    absent = rng.random(rows) < _NUMBER_MISSING[index]
    sign = 1.0 if index % 3 else -1.0
    return _text(integer_text(values), absent), np.where(absent, 0.0, sign * _WEIGHT_NUMBER * z)


def _text(values: pa.Array, absent: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(absent), pa.scalar("", values.type), values)
