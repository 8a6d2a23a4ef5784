"""Scores a whole candidate set in a served graph: compiled by XLA for a few sizes of request, or plain.

Each request is padded up to one of these sizes. Without them every new number of candidates would wait for a
compilation, 50 ms and more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.layers.set_vectors import SetVectors
from models.preranking.set_model import SetModel
from transforms.features import FeatureSet, RecordKind, Shape

CANDIDATES = (128, 256, 512, 1024, 2048, 4608)
HISTORY = (64, 256, 1024)
"""For lists without `max_length`: those with one are always padded to it."""


@dataclass(frozen=True)
class Buckets:
    """Sizes of a model's requests.

    Args:
      candidates: rising; the last is the largest request.
      history: rising; only 0 without histories. A longer history is scored without XLA.
    """

    candidates: tuple[int, ...]
    history: tuple[int, ...]

    @property
    def max_candidates(self) -> int:
        """Largest request."""
        return self.candidates[-1]

    def sizes(self) -> list[tuple[int, int]]:
        """Returns every pair of candidates and history that is compiled, history changing fastest."""
        return [(candidates, history) for candidates in self.candidates for history in self.history]


def buckets_of(feature_set: FeatureSet, record: RecordKind, candidates: tuple[int, ...] = CANDIDATES) -> Buckets:
    """Returns the buckets for models of a kind of record."""
    lists = [item.max_length for item in feature_set.model_inputs(record) if item.shape is Shape.RAGGED]
    known = [limit for limit in lists if limit is not None]
    history = HISTORY if len(known) < len(lists) else (max(known, default=0),)
    return Buckets(candidates, history)


class SetScoring:
    """The head of a set model, to be called while a signature is traced.

    Args:
      model: whose head it is.
      buckets: sizes that XLA compiles.

    Raises:
      ValueError: the head is compiled already, so that no signature could do without XLA.
    """

    def __init__(self, model: SetModel, buckets: Buckets):
        if model.options.jit_compile:
            raise ValueError(
                f"model {model.name!r} has jit_compile True; expected False, as an exported model has a signature "
                "without XLA; copy the weights to a model with jit_compile=False"
            )
        self._model, self._buckets = model, buckets

        def core(*vectors: tf.Tensor) -> tf.Tensor:
            return self.plain(SetVectors(*vectors))

        self._core = tf.function(core, jit_compile=True, autograph=False)

    def plain(self, vectors: SetVectors) -> tf.Tensor:
        """Returns logits `[B, M]` by stock operations."""
        return self._model.interact(vectors, training=False)

    def bucketed(self, vectors: SetVectors) -> tf.Tensor:
        """Returns logits `[B, M]`, by XLA for a single request that fits a bucket."""
        batch, history = tf.unstack(tf.shape(vectors.history_mask))
        candidates = tf.shape(vectors.candidate_mask)[1]
        sizes = self._buckets.sizes()
        chosen = _bucket(candidates, self._buckets.candidates) * len(self._buckets.history)
        chosen += _bucket(history, self._buckets.history)
        # Requests come one at a time, so only that is compiled. Each other number of requests would be compiled for
        # itself; mapping over them costs a call each; plain scores are the same, and as fast for a few requests.
        fits = (batch == 1) & (candidates <= self._buckets.max_candidates) & (history <= self._buckets.history[-1])
        branches = [self._compiled(vectors, candidates, size) for size in sizes]
        branches.append(lambda: self.plain(vectors))
        return tf.switch_case(tf.where(fits, chosen, len(sizes)), branches)

    def _compiled(self, vectors: SetVectors, candidates: tf.Tensor, size: tuple[int, int]) -> Callable[[], tf.Tensor]:
        def branch() -> tf.Tensor:
            # A slice, as TensorFlow assumes a shape that one branch ensures of a tensor in the others, too.
            parts: tuple[Any, ...] = vectors._replace(factored=None)
            first = (None if part is None else tf.ensure_shape(part[:1], [1, *part.shape[1:]]) for part in parts)
            one = SetVectors(*first)
            logits: Any = self._core(*one.resized(*size))
            return logits[:, :candidates]

        return branch


def _bucket(size: tf.Tensor, buckets: tuple[int, ...]) -> tf.Tensor:
    """Index of the smallest bucket that holds `size`; of the last, if none does."""
    if len(buckets) == 1:
        return tf.constant(0)
    return tf.reduce_sum(tf.cast(size > tf.constant(buckets[:-1]), tf.int32))
