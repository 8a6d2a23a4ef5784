"""Events of a span as batches, and what of them is taken: no event twice, and none that is far too late."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from models.training.recent_keys import RecentKeys
from transforms.features import TIMESTAMP, FeatureSet
from transforms.input import Features, labeled, parsed, serialized
from transforms.stream import RowEncoder, RowFeatures

KEYS = ("request_id", "user_id", "item_id")
"""Two events with all of these alike are one."""

Batch = tuple[Any, ...]
"""Features and labels; sample weights, if the source has them."""


class EventBatches:
    """Batches of a span's rows in their order: raw columns, and what the learned transform makes of them.

    Args:
      transform: learned.
      feature_set: the declaration.
      batch_size: rows.
      more: as of `RowEncoder`.
    """

    def __init__(
        self,
        transform: tft.TFTransformOutput,
        feature_set: FeatureSet,
        batch_size: int,
        more: Sequence[RowFeatures] = (),
    ):
        self._rows, self._batch_size = RowEncoder(transform, feature_set, KEYS, more), batch_size
        # Traced once for all spans.
        self._encode = tf.function(self._encoded, autograph=False, reduce_retracing=True)

    def of(self, files: Sequence[str], start: int = 0) -> Iterator[tuple[Features, Batch]]:
        """Raw columns, and what `labeled` makes of them, of each batch from `start` on."""
        for raw in parsed(serialized(files, self._batch_size).skip(start), self._rows.spec):
            yield raw, self._encode(raw)

    def _encoded(self, raw: Features) -> Batch:
        return labeled(self._rows(raw), "row")

    @property
    def element_spec(self) -> Any:
        """Of a batch."""
        return parsed(serialized([""], self._batch_size), self._rows.spec, self._encoded).element_spec


def event_keys(raw: Mapping[str, Any]) -> np.ndarray:
    """One number an event, int64 `[B]`, not negative."""
    parts = [raw[name] for name in KEYS]
    text = tf.strings.join([part if part.dtype == tf.string else tf.strings.as_string(part) for part in parts], "\x1f")
    keys: np.ndarray = tf.strings.to_hash_bucket_fast(text, 2**63 - 1).numpy()
    return keys


class Intake:
    """Decides which events are taken, and counts the others.

    Args:
      recent: keys of the last events.
      max_lateness: seconds that an event may be older than the stream; None: any.
      moment: where the stream stands: the median time of its last batch, which a clock that jumps does not move.
    """

    def __init__(self, recent: RecentKeys, max_lateness: int | None, moment: int | None):
        self.recent, self._max_lateness, self.moment = recent, max_lateness, moment

    def take(self, raw: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, int]]:
        """Which events of a batch are taken, bool `[B]`; and how many are `events`, `duplicates`, `late`, `dropped`."""
        times = raw[TIMESTAMP].numpy()
        new = self.recent.take(event_keys(raw))
        before = times < self.moment if self.moment is not None else np.zeros(len(times), bool)
        taken = new.copy()
        if self._max_lateness is not None and self.moment is not None:
            taken &= times >= self.moment - self._max_lateness
        self.moment = int(np.median(times)) if self.moment is None else max(self.moment, int(np.median(times)))
        counts = {
            "events": int(taken.sum()),
            "duplicates": int((~new).sum()),
            "late": int((new & before).sum()),
            "dropped": int((new & ~taken).sum()),
        }
        return taken, counts


def chosen(batch: Batch, taken: np.ndarray) -> Batch:
    """The events of a batch that are taken."""
    if taken.all():
        return batch
    features, *others = batch
    pick = tf.constant(taken)

    def some(values: Any) -> Any:
        if isinstance(values, tf.RaggedTensor):
            return tf.ragged.boolean_mask(values, pick)
        return tf.boolean_mask(values, pick)

    return {name: some(values) for name, values in features.items()}, *map(some, others)
