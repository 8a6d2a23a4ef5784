"""Seeds of parts, derived from the seed of the whole."""

import zlib


def derived_seed(seed: int, part: str) -> int:
    """A seed that differs from part to part and from seed to seed.

    Sums such as `seed + depth` would give one layer of a model the start of another layer of a
    model with a neighbouring seed.
    """
    return zlib.crc32(f"{seed}/{part}".encode()) & 0x7FFFFFFF
