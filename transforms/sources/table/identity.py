"""What a record is, whatever file and line it stands in: equal records have equal numbers."""

import json
from collections.abc import Iterable

import numpy as np

from transforms.arrow import pa
from transforms.sources.point_in_time.keys import text_hashes
from transforms.sources.table.convert import texts
from transforms.sources.table.lists import list_parts
from transforms.splits import mixed_bits

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def identities(columns: Iterable[pa.Array], count: int) -> np.ndarray:
    """Returns a number for each record, int64 [count], the same for records of the same values.

    Args:
      columns: values [count] of any type.
      count: number of records.
    """
    hashes = np.ones(count, np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            hashes = mixed_bits(hashes * _GOLDEN + _hashes(column))
    return hashes.view(np.int64)


def _hashes(array: pa.Array) -> np.ndarray:
    """Hashes of values, uint64 [n]; a number is hashed as its text."""
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        offsets, elements = list_parts(array)
        place = np.arange(len(elements)) - np.repeat(offsets[:-1], np.diff(offsets))
        with np.errstate(over="ignore"):
            mixed = mixed_bits(_hashes(elements) + (place + 1).astype(np.uint64) * _GOLDEN)
            sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
            return sums[offsets[1:]] - sums[offsets[:-1]]
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        array = pa.array([json.dumps(value, sort_keys=True, default=str) for value in array.to_pylist()], pa.string())
    return text_hashes(texts(array, lambda row: "", exact=False))
