"""Peers that see different things, so that their errors need not be the same: other fields, or other requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.duet import Duet, DuetOptions, DuetRecipe
from models.layers.set_vectors import SetVectors
from models.preranking.set_ranker import SetRanker
from models.table_model import TableModel
from transforms.features import ModelInput

_IDS = frozenset({"user_id", "item_id", "history_item_id"})
"""Features of the simulator that say who and which, not of what kind."""
_WIDTH = 32


class _View(SetRanker):
    """A set ranker that reads some of the fields; the others are zeros. Its width is 32 unless it is given."""

    by_ids: ClassVar[bool]
    """True: it reads the ids and the history alone; False: all others, and no history."""

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        streams = {} if self.by_ids else {"streams": ("candidates",)}
        super().__init__(inputs, table_sizes, **{"width": _WIDTH, **options, **streams})

    def head(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        kept = {side: self._kept(side) for side in ("request", "candidates")}
        masked = {side: getattr(vectors, side) * tf.cast(mask, self.compute_dtype) for side, mask in kept.items()}
        # Without the numbers apart, which a mask of whole fields does not fit.
        return super().head(vectors._replace(factored=None, **masked), training)

    def _kept(self, role: str) -> tf.Tensor:
        """[F, 1] 1 for each field of a role that it reads."""
        names = [name for name in self.embeddings.field_names if self.roles[name] == role]
        return tf.constant([[float((name in _IDS) == self.by_ids)] for name in names])


@keras.utils.register_keras_serializable(package="consort_experiments")
class IdRanker(_View):
    """A set ranker that knows users and items by their ids and histories alone."""

    by_ids = True


@keras.utils.register_keras_serializable(package="consort_experiments")
class ContentRanker(_View):
    """A set ranker that knows users and items by everything but ids and histories."""

    by_ids = False


@keras.utils.register_keras_serializable(package="consort_experiments")
class BaggedDuet(Duet):
    """A pair of which each peer learns the clicks of one half of the requests, and labels the other half for its peer.

    The first half of each batch is the first peer's. As batches are drawn at random, one pass over the data gives
    each peer a random half of it.
    """

    def learned_by(self, clicks: Clicks) -> tuple[Clicks, Clicks]:
        requests = tf.shape(clicks.label)[0]
        first = tf.cast(tf.range(requests) < (requests + 1) // 2, tf.float32)[:, tf.newaxis]
        weight = tf.ones_like(clicks.label) if clicks.weight is None else tf.cast(clicks.weight, tf.float32)
        return replace(clicks, weight=weight * first), replace(clicks, weight=weight * (1 - first))


@dataclass(frozen=True)
class BaggedDuetRecipe(DuetRecipe):
    """Trains `BaggedDuet`."""

    def _group(self, peers: Sequence[TableModel]) -> Duet:
        return BaggedDuet(peers, **self.values(DuetOptions))
