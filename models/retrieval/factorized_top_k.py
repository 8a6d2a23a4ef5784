"""Exact search over all item vectors of a catalogue, as TensorFlow Recommenders has it."""

from typing import Any

import numpy as np
import tensorflow as tf

from evaluation.catalogue import Search

_AT_ONCE = 1 << 24
"""Scores that a search may hold at once."""


def brute_force(vectors: np.ndarray, scale: float) -> Search:
    """`tfrs.layers.factorized_top_k.BruteForce` for scale <u, v>.

    Args:
      vectors: vectors of all items `[N, W]`.
      scale: where it is negative, the lowest products are the best.

    Returns:
      A search that takes vectors `[B, W]` of at least one user.
    """
    import tensorflow_recommenders as tfrs

    index = tfrs.layers.factorized_top_k.BruteForce().index(tf.constant(vectors, tf.float32))
    size = max(_AT_ONCE // len(vectors), 1)

    def search(users: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        asked = scale * tf.cast(users, tf.float32)
        parts = [index(asked[start : start + size], k=count) for start in range(0, len(asked), size)]
        scores, places = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
        return scores, places

    return search
