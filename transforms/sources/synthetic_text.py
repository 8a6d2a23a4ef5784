"""Text columns for generated raw files, and the files themselves, block by block."""

import os
from collections.abc import Callable

import numpy as np

from transforms.arrow import pa, pc
from transforms.files import replacing_file
from transforms.portable_math import exp, log, sigmoid

_HEX_PAIRS = np.array([f"{value:02x}" for value in range(256)], "S2").view(np.uint16)
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


def hex_text(values: np.ndarray) -> pa.Array:
    """The low 32 bits of each number as 8 hex digits."""
    pairs = _HEX_PAIRS[values.astype(np.uint32).astype(">u4").view(np.uint8)]
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 8
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(pairs)))


def hash_effects(hashes: np.ndarray) -> np.ndarray:
    """An effect of mean 0 and standard deviation 1 for each hash, by its high bits."""
    effects: np.ndarray = ((hashes >> np.uint64(40)).astype(np.float64) / (1 << 24) * 2.0 - 1.0) * np.sqrt(3.0)
    return effects


def clicked(logit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of 0 and 1, int64, drawn with the probabilities sigmoid(logit)."""
    return (rng.random(len(logit)) < sigmoid(logit)).astype(np.int64)
