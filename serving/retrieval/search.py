"""Exact search over a whole catalogue in the served graph, by stock operations, and the lookup of items by id."""

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Similarity = Callable[[tuple[tf.Tensor, tf.Tensor]], tf.Tensor]
"""A tower model's: the outputs of both towers, of users `[B, ...]` and of items `[B, M, ...]`, to logits `[B, M]`."""

INNER_PRODUCT, OTHER = "inner_product", "model"
"""Kinds of similarity in contracts: scale <u, v> + bias, and any other."""

BLOCK = 64
"""Items of a block: its maximum decides whether one of them can be among the best."""


class ExactSearch(tf.Module, abc.ABC):
    """The vectors of all items, and the best of them for a user."""

    items: int

    @abc.abstractmethod
    def similarity_entry(self) -> dict[str, Any]:
        """Returns the similarity as an entry of the contract."""

    @abc.abstractmethod
    def best(self, users: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns positions and logits of the best items, best first; for equal logits the lower position first.

        Args:
          users: outputs of the user tower, `[B, ...]`.
          count: at most `items`.

        Returns:
          Two of `[B, count]`.
        """


class ProductSearch(ExactSearch):
    """Search by scale <u, v> + bias: one matrix product over all items.

    Args:
      vectors: `[N, W]`.
      similarity: returns the logits of the items found.
      scale, bias: of the similarity, up to rounding; where the scale is negative, the lowest products are the best.
    """

    def __init__(self, vectors: np.ndarray, similarity: Similarity, scale: float, bias: float):
        super().__init__(name="product_search")
        self.items, self._similarity, self._scale, self._bias = len(vectors), similarity, scale, bias
        # Copies of the last item: they are in its block, whose maximum they leave as it is.
        padding = np.repeat(vectors[-1:], -len(vectors) % BLOCK, axis=0)
        # The long axis last: for one user a third faster than rows of items, for many three times.
        self.columns = tf.Variable(np.concatenate([vectors, padding]).T.astype(np.float32), trainable=False)

    def similarity_entry(self) -> dict[str, Any]:
        return {"kind": INNER_PRODUCT, "scale": self._scale, "bias": self._bias}

    def best(self, users: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        products = tf.matmul(users * float(np.sign(self._scale)), self.columns)
        positions = top_by_blocks(products, self.items, count)
        vectors = tf.transpose(tf.gather(self.columns, positions, axis=1), [1, 2, 0])
        logits = tf.cast(self._similarity((users, vectors)), tf.float32)
        # The product of a few items rounds otherwise than that of all.
        sorted_logits, order = tf.math.top_k(logits, count)
        return tf.gather(positions, order, batch_dims=1), sorted_logits


class WholeSearch(ExactSearch):
    """Search by any similarity, computed for every item, one user after the other.

    Args:
      vectors: what the item's tower gives, `[N, ...]`.
      similarity: returns the logits.
    """

    def __init__(self, vectors: np.ndarray, similarity: Similarity):
        super().__init__(name="whole_search")
        self.items, self._similarity = len(vectors), similarity
        self.vectors = tf.Variable(vectors.astype(np.float32), trainable=False)

    def similarity_entry(self) -> dict[str, Any]:
        return {"kind": OTHER}

    def best(self, users: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors: Any = tf.convert_to_tensor(self.vectors)[tf.newaxis]

        def of_one(user: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = tf.cast(self._similarity((user[tf.newaxis], vectors))[0], tf.float32)
            values, positions = tf.math.top_k(logits, count)
            return positions, values

        # `map_fn` over no users could not infer the number of columns.
        num_users = tf.shape(users)[0]
        padded = tf.pad(users, [[0, tf.cast(num_users == 0, tf.int32)], *([0, 0] for _ in users.shape[1:])])
        kinds = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32))
        # One at a time: together, the scores of many users for all items would not fit into memory.
        positions, logits = tf.map_fn(of_one, padded, fn_output_signature=kinds, parallel_iterations=1)
        return positions[:num_users], logits[:num_users]


def top_by_blocks(scores: tf.Tensor, items: int, count: tf.Tensor) -> tf.Tensor:
    """Returns the positions of the highest scores as `tf.math.top_k` does, but faster.

    The `count` blocks of highest maximum hold the `count` highest scores, so that only these are searched.

    Args:
      scores: `[B, P]`, P a multiple of the block; those after `items` repeat the last item.
      items: at most P.
      count: at most `items`.

    Returns:
      int32 `[B, count]`.
    """
    batch, blocks = tf.shape(scores)[0], scores.shape[1] // BLOCK
    by_block = tf.reshape(scores, [batch, blocks, BLOCK])
    # In ascending order, so that positions rise among equal scores.
    chosen = tf.sort(tf.math.top_k(tf.reduce_max(by_block, axis=2), tf.minimum(count, blocks)).indices, axis=1)
    positions = chosen[:, :, tf.newaxis] * BLOCK + tf.range(BLOCK)
    candidates = tf.where(positions < items, tf.gather(by_block, chosen, batch_dims=1), float("-inf"))
    best = tf.math.top_k(tf.reshape(candidates, [batch, -1]), count).indices
    return tf.gather(tf.reshape(positions, [batch, -1]), best, batch_dims=1)


_PRINTS = 2**63 - 1


class ItemPlaces(tf.Module):
    """Positions of ids, by a search in their sorted fingerprints; integers are their own fingerprints.

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

    def of(self, wanted_ids: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        """Returns the positions int32 of ids, -1 for those that are not in the catalogue.

        Args:
          wanted_ids: ids of any shape.
          ids: the catalogue's.
        """
        flat = tf.reshape(wanted_ids, [-1])
        nearest = tf.searchsorted(self.prints, _fingerprints(flat))
        places = tf.gather(self.order, tf.minimum(nearest, self.order.shape[0] - 1))
        places_of_ids = tf.where(tf.gather(ids, places) == flat, places, -1)
        return tf.reshape(places_of_ids, tf.shape(wanted_ids))


def _fingerprints(ids: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(ids, _PRINTS) if ids.dtype == tf.string else ids
