"""Where an item stands in the catalogue, by its id, looked up in the served graph."""

import numpy as np
import tensorflow as tf

_PRINTS = 2**63 - 1


class ItemPlaces(tf.Module):
    """Places of ids, by a search in their sorted fingerprints; numbers are their own.

    A table of the ids would be a constant of the graph, which has no room for many.

    Args:
      ids: `[N]`, each once; bytes or int64.

    Raises:
      ValueError: two ids have one fingerprint, which happens to one catalogue in a hundred million.
    """

    def __init__(self, ids: np.ndarray):
        super().__init__(name="item_places")
        prints = _fingerprints(tf.constant(ids.tolist(), tf.string if ids.dtype == object else tf.int64)).numpy()
        order = np.argsort(prints, kind="stable")
        same = np.flatnonzero(np.diff(prints[order]) == 0)
        if len(same):
            one, other = ids[order[same[0]]], ids[order[same[0] + 1]]
            raise ValueError(f"ids {one!r} and {other!r} have one fingerprint; expected two; leave one of them out")
        self.prints = tf.Variable(prints[order], trainable=False)
        self.order = tf.Variable(order.astype(np.int32), trainable=False)

    def of(self, asked: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Places int32 of some ids, -1 for those that are not there.

        Args:
          asked: ids of any shape.
          ids: the catalogue's.
        """
        flat = tf.reshape(asked, [-1])
        nearest = tf.searchsorted(self.prints, _fingerprints(flat))
        places = tf.gather(self.order, tf.minimum(nearest, self.order.shape[0] - 1))
        found = tf.where(tf.gather(ids, places) == flat, places, -1)
        return tf.reshape(found, tf.shape(asked))


def _fingerprints(ids: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(ids, _PRINTS) if ids.dtype == tf.string else ids
