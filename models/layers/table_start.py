"""Initial values of an embedding table."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

EMBEDDING_STDDEV = 1e-4
"""As DeepCTR and FuxiCTR have it: Adam's steps do not depend on the scale of the start, and a rare id,
updated only a few times, keeps saying next to nothing."""

_BLOCK_ROWS, _BLOCK_STEP = 1 << 16, 1_000_003
"""Rows of a vocabulary are drawn in blocks, each from a seed of its own, this far from the one before."""


class TableStart(keras.initializers.Initializer):
    """Each part's and each vocabulary's rows from a seed of their own: adding one leaves the others as they were.

    Args:
      parts: an `EmbeddingPart` a model.
      sizes: rows of each vocabulary.
      zero_rows: of each vocabulary that start as zeros, the first ones.
    """

    def __init__(self, parts: Sequence[Any], sizes: Mapping[str, int], zero_rows: int = 1):
        self._parts, self._sizes, self._zero_rows = parts, dict(sizes), zero_rows

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        # A shard of a table asks for its own rows only, and the others are not drawn: they might not fit.
        first = (kwargs.get("partition_offset") or [0, 0])[0]
        size = (kwargs.get("partition_shape") or shape)[0]
        parts = self._parts
        columns = [self._embeddings(part, first, first + size) for part in parts]
        return tf.concat([*columns, tf.zeros([size, sum(part.linear for part in parts)])], axis=1)

    def _embeddings(self, part: Any, first: int, last: int) -> tf.Tensor:
        rows, start = [], 0
        for name, size in self._sizes.items():
            begin, end = max(first - start, 0), min(last - start, size)
            if begin < end:
                rows += self._rows_of_vocabulary(part, name, begin, end)
            start += size
        return tf.concat(rows, axis=0)

    def _rows_of_vocabulary(self, part: Any, name: str, begin: int, end: int) -> list[tf.Tensor]:
        zeros = max(min(end, self._zero_rows) - begin, 0)
        rows = [tf.zeros([zeros, part.embedding_dim])] if zeros else []
        size, key = self._sizes[name] - self._zero_rows, zlib.crc32(name.encode())
        begin, end = max(begin - self._zero_rows, 0), end - self._zero_rows
        for block in range(begin // _BLOCK_ROWS, -(-end // _BLOCK_ROWS)):
            offset = block * _BLOCK_ROWS
            drawn = [min(_BLOCK_ROWS, size - offset), part.embedding_dim]
            seed = [part.seed, (key + block * _BLOCK_STEP) & 0x7FFFFFFF]
            values = tf.random.stateless_normal(drawn, seed, stddev=EMBEDDING_STDDEV)
            rows.append(values[max(begin - offset, 0) : end - offset])
        return rows
