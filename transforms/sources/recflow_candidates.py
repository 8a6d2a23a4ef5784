"""Which items of a RecFlow request become candidates: every shown one, then a share of each stage."""

import numpy as np

from transforms.sources.recflow_options import EXPOSED_STAGE
from transforms.splits import mixed_bits


def chosen_candidates(
    owner: np.ndarray, request_id: np.ndarray, item: np.ndarray, stage: np.ndarray, list_size: int, seed: int
) -> np.ndarray:
    """Marks the items of each request that are kept; bool [n].

    All shown items, then one of each other stage in turn, the latest stage first, until the list is full
    or no item is left: each stage gives equally many, as far as it has them. Within a stage the choice is
    random, by the seed, the request's and the item's id alone, so the order of rows does not matter.

    Args:
      owner: int64 [n], the request of each item, by index.
      request_id, item: int64 [n], ids.
      stage: int64 [n], values of `STAGES`.
      list_size: M; shown items beyond it are cut too, so check them before.
      seed: of the choice, 0 or more.
    """
    order = np.lexsort((_random_bits(request_id, item, seed), stage, owner))
    starts = _starts(owner[order], stage[order])
    turn = np.empty(len(owner), np.int64)
    turn[order] = np.arange(len(owner)) - starts
    turn[stage == EXPOSED_STAGE] = -1
    order = np.lexsort((item, -stage, turn, owner))
    kept = np.empty(len(owner), bool)
    kept[order] = np.arange(len(owner)) - _starts(owner[order]) < list_size
    return kept


def _starts(*keys: np.ndarray) -> np.ndarray:
    """Index of the first element of each element's run of equal keys."""
    first = np.ones(len(keys[0]), bool)
    first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def _random_bits(request_id: np.ndarray, item: np.ndarray, seed: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        start = mixed_bits(request_id.astype(np.uint64) + np.uint64(seed * 0xD1B54A32D192ED03 % (1 << 64)))
        return mixed_bits((item.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start)
