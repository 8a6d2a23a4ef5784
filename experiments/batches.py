"""Arrays as batches: sliced by NumPy, so that nothing is done row by row."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from experiments.arrays import Rows
from transforms.features import LABEL

SCORED_AT_ONCE = 20_000
_Batch = tuple[dict[str, np.ndarray], np.ndarray]


def batches(rows: Rows, batch_size: int, order: tuple[int, ...] | None = None) -> tf.data.Dataset:
    """Batches `(features, label)` of a pass over the rows, the last one short if need be.

    Args:
      rows: of a split.
      batch_size: B.
      order: seeds of a permutation of all rows; None keeps their order.
    """

    def one_pass() -> Iterator[_Batch]:
        size = len(rows)
        # Half the memory of NumPy's own int64.
        shuffled = None if order is None else np.random.default_rng(order).permutation(np.arange(size, dtype=np.int32))
        for start in range(0, size, batch_size):
            which = slice(start, start + batch_size) if shuffled is None else shuffled[start : start + batch_size]
            yield rows.features(which), np.ascontiguousarray(rows.label[which])

    first = rows.features(slice(0, 1))
    specs = {name: tf.TensorSpec([None], values.dtype, name=name) for name, values in first.items()}
    label = tf.TensorSpec([None], tf.float32, name=LABEL)
    return tf.data.Dataset.from_generator(one_pass, output_signature=(specs, label)).prefetch(4)


def click_probabilities(model: keras.Model, rows: Rows) -> np.ndarray:
    """Probabilities of all rows in their order, float64 `[N, K]`; K is 1 for a model that is no group."""
    specs = batches(rows, SCORED_AT_ONCE).element_spec[0]

    @tf.function(autograph=False, input_signature=[specs])
    def logits(features: dict[str, tf.Tensor]) -> tf.Tensor:
        found = model(features, training=False)
        return tf.stack(list(found.values()) if isinstance(found, dict) else [found], axis=1)

    starts = range(0, len(rows), SCORED_AT_ONCE)
    parts = [logits(rows.features(slice(start, start + SCORED_AT_ONCE))).numpy() for start in starts]
    probabilities: np.ndarray = 1 / (1 + np.exp(-np.concatenate(parts).astype(np.float64)))
    return probabilities
