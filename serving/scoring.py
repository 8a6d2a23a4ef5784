"""Score raw records with an exported model: through its signature, never through its Python code."""

import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from serving.signatures import EXAMPLES, PROBABILITY


class Scorer:
    """An exported model, loaded.

    Args:
      directory: a SavedModel of `export_model`.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self._loaded = tf.saved_model.load(str(directory))
        self._signature = self._loaded.signatures[EXAMPLES]

    def __call__(self, examples: tf.Tensor | Iterable[bytes]) -> np.ndarray:
        """Probabilities of serialized raw records: [B], or [B, M] for request records."""
        if not isinstance(examples, tf.Tensor):
            examples = tf.constant(list(examples), tf.string)
        scores: np.ndarray = self._signature(examples=examples)[PROBABILITY].numpy()
        return scores
