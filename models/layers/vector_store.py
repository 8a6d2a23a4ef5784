"""A store of one vector for each id: read as a feature, written from training batches, never trained."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import checked_count
from models.layers.lookup import look_up


class StoreContent(NamedTuple):
    """A store's content for V ids: vectors float32 `[V, D]`, events int64 `[V]`, time of the last one int64 `[V]`."""

    vectors: np.ndarray
    counts: np.ndarray
    last_times: np.ndarray


@keras.utils.register_keras_serializable(package="consort")
class VectorStore(keras.layers.Layer):
    """Moving averages of vectors by id: state, no parameter.

    An event with vector v of id i does c_i <- decay c_i + (1 - decay) v. Several events of an id in one
    call count in their order; with k of them, v_1 to v_k,

      c <- decay^k c + (1 - decay) sum_j decay^(k - j) v_j

    which is what writing one after the other gives. A read or a write costs what the ids named cost,
    whatever the size of the store. Row 0, of padding and of ids not known, stays zeros. Under parameter servers
    the vectors of a large store lie in shards.

    Reference: the caches of CTS and CMS in "Efficient Online Capability Synergy for Two-Tower
    Recommendation" (CS3, 2026, arXiv 2604.19269).

    Args:
      size: ids, 0 included.
      width: D of the vectors.
      decay: share of the old vector that stays, in [0, 1]: 0 keeps the last event's, 1 keeps the first zeros.

    Call arguments:
      ids: int64 `[...]`, in `[0, size)`.

    Output shape: `[..., D]`; no gradient passes.

    Raises:
      ValueError: a size or width less than 1, or a decay outside [0, 1].
      tf.errors.InvalidArgumentError: an id lies outside the store (on CPU; a GPU reads zeros).
    """

    def __init__(self, size: int, width: int, decay: float = 0.8, **kwargs: Any):
        # Averages of many small steps would be lost in bfloat16.
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.size, self.width, self.decay = checked_count("size", size), checked_count("width", width), float(decay)
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is {decay}; expected in [0, 1]; 0.8 is the paper's")

    def build(self, input_shape: Any) -> None:
        self.vectors = self._state("vectors", [self.size, self.width], tf.float32)
        self.counts = self._state("counts", [self.size], tf.int64)
        self.last_times = self._state("last_times", [self.size], tf.int64)
        super().build(input_shape)

    def _state(self, name: str, shape: list[int], dtype: tf.DType) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, dtype=dtype, initializer="zeros", trainable=False)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(look_up(self.vectors, ids))

    def write(self, ids: tf.Tensor, vectors: tf.Tensor, times: tf.Tensor, mask: tf.Tensor | None = None) -> None:
        """Writes events in the order of their times; events of equal times in the order of the batch.

        Args:
          ids: int64 `[B]`; events of id 0 are dropped.
          vectors: `[B, D]`; no gradient passes.
          times: int64 `[B]`.
          mask: bool `[B]`, True for the events to take; None takes all.
        """
        taken = ids > 0 if mask is None else (ids > 0) & mask
        ids, vectors, times = (tf.boolean_mask(part, taken) for part in (ids, tf.stop_gradient(vectors), times))
        distinct, owner, counts = tf.unique_with_counts(ids)
        # Events by id and, of each, by time: their place among their id's own.
        by_time = tf.argsort(times, stable=True)
        order = tf.gather(by_time, tf.argsort(tf.gather(owner, by_time), stable=True))
        owner, vectors = tf.gather(owner, order), tf.cast(tf.gather(vectors, order), tf.float32)
        place = tf.range(tf.size(owner)) - tf.gather(tf.cumsum(counts, exclusive=True), owner)
        later = tf.cast(tf.gather(counts, owner) - 1 - place, tf.float32)
        shares = (1 - self.decay) * tf.pow(self.decay, later)
        sums = tf.math.unsorted_segment_sum(vectors * shares[:, tf.newaxis], owner, tf.size(distinct))
        kept = tf.pow(self.decay, tf.cast(counts, tf.float32))[:, tf.newaxis] * look_up(self.vectors, distinct)
        self.vectors.scatter_update(tf.IndexedSlices(kept + sums, distinct))
        self.counts.scatter_add(tf.IndexedSlices(tf.cast(counts, tf.int64), distinct))
        newest = tf.math.unsorted_segment_max(tf.gather(times, order), owner, tf.size(distinct))
        self.last_times.scatter_max(tf.IndexedSlices(newest, distinct))

    def reset(self) -> None:
        """Sets all vectors, counts and times to zero."""
        for state in self.variables:
            state.assign(tf.zeros_like(state))

    def content(self) -> StoreContent:
        """Returns a copy of its content."""
        return StoreContent(self.vectors.numpy(), self.counts.numpy(), self.last_times.numpy())

    def fill(self, content: StoreContent) -> None:
        """Replaces its content.

        Raises:
          ValueError: it is of another size or width.
        """
        for state, value in zip((self.vectors, self.counts, self.last_times), content, strict=True):
            state.assign(value)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("dtype", "trainable"):
            config.pop(key)
        return {**config, "size": self.size, "width": self.width, "decay": self.decay}
