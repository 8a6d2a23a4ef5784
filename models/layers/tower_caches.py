"""Caches of two towers: vectors kept by id, of the other tower and of the ranker."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras as keras

from models.layers.vector_store import StoreContent, VectorStore

SIDES = ("user", "item")


class Extras(NamedTuple):
    """The vectors that the towers read from caches, beside their features.

    Args:
      user: `[B, E]`.
      item: `[B, M, E]`.
    """

    user: tf.Tensor
    item: tf.Tensor


@keras.utils.register_keras_serializable(package="consort")
class TowerCaches(keras.layers.Layer):
    """Two stores a side: cross vectors, of the other tower (CTS), and cascade vectors, of the ranker (CMS).

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).

    Args:
      sizes: ids of each side, `user` and `item`, 0 included.
      in_vocabulary_ids: number of ids of each side that get vectors; the vectors of the others, the out-of-vocabulary
        ids, stay zeros, as that of id 0 does. None: all ids.
      cross_widths: widths of each side's cross vectors, which come from the other side; empty: no CTS.
      cascade_width: width of the cascade vectors; 0: no CMS.
      alpha, beta: shares of the old vector in cross and in cascade vectors.
      features: names of the ids, of each side.

    Call arguments:
      features: a batch of rows, ids `[B]`; or of requests, items `[B, M]`.

    Output shape: `Extras`, E being the sum of a side's widths.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        cross_widths: Mapping[str, int],
        cascade_width: int,
        alpha: float = 0.8,
        beta: float = 0.8,
        features: Mapping[str, str] | None = None,
        in_vocabulary_ids: Mapping[str, int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.sizes, self.cross_widths, self.cascade_width = dict(sizes), dict(cross_widths), cascade_width
        self.alpha, self.beta = alpha, beta
        self.features = dict(features or {"user": "user_id", "item": "item_id"})
        self.in_vocabulary_ids = dict(in_vocabulary_ids or sizes)
        self.stores: dict[str, VectorStore] = {}
        for side in SIDES:
            if self.cross_widths:
                self._add("cross", side, self.cross_widths[side], alpha)
        for side in SIDES:
            if cascade_width:
                self._add("cascade", side, cascade_width, beta)

    def _add(self, kind: str, side: str, width: int, decay: float) -> None:
        name = f"{kind}_{side}"
        self.stores[name] = VectorStore(self.sizes[side], width, decay, name=name)

    def widths(self) -> dict[str, int]:
        """Returns the width E of the vectors that each side reads."""
        return {side: sum(store.width for _, store in self._of(side)) for side in SIDES}

    def _of(self, side: str) -> list[tuple[str, VectorStore]]:
        return [(name.partition("_")[0], store) for name, store in self.stores.items() if name.endswith(side)]

    def build(self, input_shape: Any) -> None:
        for store in self.stores.values():
            store.build(None)
        super().build(input_shape)

    def call(self, features: Mapping[str, Any]) -> Extras:
        items = features[self.features["item"]]
        item = self._read("item", items)
        return Extras(
            self._read("user", features[self.features["user"]]), item[:, tf.newaxis] if _flat(items) else item
        )

    def _read(self, side: str, ids: tf.Tensor) -> tf.Tensor:
        parts = [store(ids) for _, store in self._of(side)]
        return tf.concat(parts, axis=-1) if parts else tf.zeros(tf.concat([tf.shape(ids), [0]], axis=0))

    def write(
        self,
        features: Mapping[str, Any],
        opposite: Mapping[str, tf.Tensor],
        hidden: tf.Tensor | None,
        times: tf.Tensor,
        clicked: tf.Tensor,
        shown: tf.Tensor,
    ) -> None:
        """Writes the events of a batch of rows into the stores, in the order of their times.

        Args:
          features: the batch.
          opposite: for each side the vectors of the other side `[B, W]`.
          hidden: the ranker's `[B, H]`; None without CMS.
          times: int64 `[B]`.
          clicked: bool `[B]`: what cross vectors take.
          shown: bool `[B]`: what cascade vectors take.
        """
        for side in SIDES:
            ids = features[self.features[side]]
            known = ids < self.in_vocabulary_ids[side]
            for kind, store in self._of(side):
                vectors, taken = (opposite[side], clicked) if kind == "cross" else (hidden, shown)
                store.write(ids, vectors, times, taken & known)

    def reset(self) -> None:
        """Empties all stores."""
        for store in self.stores.values():
            store.reset()

    def contents(self) -> dict[str, StoreContent]:
        """Returns the content of each store."""
        return {name: store.content() for name, store in self.stores.items()}

    def fill(self, contents: Mapping[str, StoreContent]) -> None:
        """Replaces the contents of the stores that are named."""
        for name, content in contents.items():
            self.stores[name].fill(content)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("dtype", "trainable"):
            config.pop(key)
        names = ("sizes", "cross_widths", "cascade_width", "alpha", "beta", "features", "in_vocabulary_ids")
        return {**config, **{name: getattr(self, name) for name in names}}


def _flat(ids: tf.Tensor) -> bool:
    return ids.shape.rank == 1
