"""Writes raw files of Avazu's shape, for speed measurements and tests: the format, not the data."""

import os

import numpy as np

from benchmarks.criteo_like import (
    Fields,
    clicked,
    hash_effects,
    integer_text,
    log_uniform_ranks,
    write_lines,
)
from simulation.ctr_log import hex_text
from transforms.arrow import pa
from transforms.portable_math import sine_of_turns
from transforms.sources.avazu.schema import CATEGORIES, LINE
from transforms.splits import mixed_bits

# Ids per category in the full data set; draws are log-uniform over ranks, so most ids are rare.
_CARDINALITIES = {
    "C1": 7, "banner_pos": 7, "site_id": 4_737, "site_domain": 7_745, "site_category": 26, "app_id": 8_552,
    "app_domain": 559, "app_category": 36, "device_id": 2_686_408, "device_ip": 6_729_486, "device_model": 8_251,
    "device_type": 5, "device_conn_type": 4, "C14": 2_626, "C15": 8, "C16": 9, "C17": 435, "C18": 4, "C19": 68,
    "C20": 172, "C21": 60,
}  # fmt: skip
_FIRST_NUMBER = {
    "C1": 1_001, "banner_pos": 0, "device_type": 0, "device_conn_type": 0, "C14": 375, "C15": 120, "C16": 20,
    "C17": 112, "C18": 0, "C19": 33, "C20": 100_000, "C21": 1,
}  # fmt: skip
_NO_DEVICE, _NO_DEVICE_SHARE = 0xA99F214A, 0.83
_NO_C20_SHARE = 0.47
_DAYS, _HOURS = 10, 24
_WEIGHT, _INTERCEPT = 0.35, -1.65


def write_avazu_like(path: str | os.PathLike[str], rows: int, seed: int = 0) -> None:
    """Writes a header and `rows` lines in Avazu's layout with about 17 % positives that a model can learn.

    Ten days from 21 October 2014 in order of time; categories have the full data set's cardinalities
    and heavy tails; most devices share one id, and about half of C20 is -1, as in the real file.

    Args:
      path: file to write, whole or not at all.
      rows: number of lines.
      seed: equal seeds and rows give equal files.
    """

    def fields(start: int, size: int, rng: np.random.Generator) -> Fields:
        return _fields(start + np.arange(size, dtype=np.int64), rows, rng)

    write_lines(path, rows, seed, ",", fields, ",".join(LINE.fields).encode() + b"\n")


def _fields(ordinals: np.ndarray, rows: int, rng: np.random.Generator) -> Fields:
    day, of_day = np.divmod(ordinals * (_DAYS * _HOURS) // rows, _HOURS)
    logit = _INTERCEPT + 0.2 * sine_of_turns(of_day / _HOURS)
    categories = []
    for index, name in enumerate(CATEGORIES):
        field, effect = _category(index, name, len(ordinals), rng)
        categories.append(field)
        logit += _WEIGHT * effect
    # Real ids are 64-bit numbers of up to 20 digits.
    key = mixed_bits(ordinals.astype(np.uint64) + np.uint64(1))
    hour = 14_10_21_00 + 100 * day + of_day
    return [integer_text(key), integer_text(clicked(logit, rng)), integer_text(hour), *categories]


def _category(index: int, name: str, rows: int, rng: np.random.Generator) -> tuple[pa.Array, np.ndarray]:
    """The ids of a category as text, and their effects."""
    ranks = log_uniform_ranks(rows, _CARDINALITIES[name], rng)
    hashes = mixed_bits(ranks + np.uint64((index + 1) << 32))
    effects = hash_effects(hashes)
    if name in _FIRST_NUMBER:
        numbers = _FIRST_NUMBER[name] + ranks.astype(np.int64)
        if name == "C20":
            absent = rng.random(rows) < _NO_C20_SHARE
            numbers, effects = np.where(absent, -1, numbers), np.where(absent, 0.0, effects)
        return integer_text(numbers), effects
    if name == "device_id":
        nobody = rng.random(rows) < _NO_DEVICE_SHARE
        hashes, effects = np.where(nobody, np.uint64(_NO_DEVICE), hashes), np.where(nobody, 0.0, effects)
    return hex_text(hashes), effects
