"""Times of single calls."""

import time
from collections.abc import Callable

import numpy as np


def call_seconds(call: Callable[[int], object], count: int, warm_up: int = 0) -> np.ndarray:
    """Returns the seconds of each of the calls `call(0)`, `call(1)`, ...; warm-up calls have negative numbers."""
    seconds = np.empty(count)
    for number in range(-warm_up, count):
        start = time.perf_counter()
        call(number)
        if number >= 0:
            seconds[number] = time.perf_counter() - start
    return seconds


def percentile_ms(seconds: np.ndarray, share: float) -> float:
    """Returns a percentile, 0 to 100, of seconds in milliseconds."""
    return float(np.percentile(1e3 * seconds, share))
