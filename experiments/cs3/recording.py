"""CS3 as the table watches it: a recipe that keeps what each row scored before the models learned from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.cotraining.clicks import Clicks
from models.cotraining.cs3 import CS3, CS3Options, CS3Recipe
from models.retrieval.tower_model import TowerInput


class RecordingCS3(CS3):
    """CS3 that keeps the logits that each training row had before the step that learned from it.

    Args:
      rows: training rows of a pass at most.
      *args, **options: see `CS3`.
    """

    def __init__(self, *args: Any, rows: int, **options: Any):
        super().__init__(*args, **options)
        self._logits = self.add_weight("recorded_logits", [rows, 2], initializer="zeros", trainable=False)
        self._recorded = self.add_weight("recorded", [], tf.int64, "zeros", trainable=False)

    def after_step(self, clicks: Clicks, logits: Mapping[str, tf.Tensor], sides: Any) -> None:
        super().after_step(clicks, logits, sides)
        rows = self._recorded + tf.range(tf.size(clicks.label, tf.int64))
        both = tf.stack([logits[name] for name in self.peer_names], axis=-1)
        self._logits.scatter_nd_update(rows[:, tf.newaxis], both)
        self._recorded.assign_add(tf.size(clicks.label, tf.int64))

    def reset_state(self) -> None:
        super().reset_state()
        self._recorded.assign(0)

    @property
    def recorded(self) -> Any:
        """Logits of towers and ranker, row by row as they were learned from, `[R, 2]`."""
        return self._logits.numpy()[: int(self._recorded)]

    def reveal(self, batch: Any) -> tf.Tensor:
        """Returns the logits of a batch, `[B, 2]`, and then lets the caches take its labels; the weights stay."""
        clicks = Clicks.of(batch)
        logits, sides = self(clicks.features, training=False, with_sides=True)
        self.write(clicks, sides)
        return tf.stack([logits[name] for name in self.peer_names], axis=-1)

    def under_noise(self, features: Mapping[str, Any], noise: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the logits of the towers `[B]` with Gaussian noise on the vectors of their features.

        Args:
          features: a batch.
          noise: its deviation, in standard deviations of each part's vectors over the batch.
          seed: of the noise, `[2]`.
        """
        sets, _ = self.embeddings(features, training=False, as_sets=True)
        noisy = {}
        for index, part in enumerate(("request", "history", "candidates")):
            vectors = getattr(sets, part)
            drawn = tf.random.stateless_normal(tf.shape(vectors), seed + tf.constant([0, index]))
            noisy[part] = vectors + noise * _deviation(vectors) * drawn
        both = self.towers.both(TowerInput(sets._replace(**noisy), self.towers.extras(features)), training=False)
        return self.towers.of_rows(self.towers.similarity(both))


def _deviation(vectors: tf.Tensor) -> tf.Tensor:
    """Returns the deviation of all numbers but padding's zeros; 0 where there is none."""
    real = tf.boolean_mask(vectors, tf.not_equal(vectors, 0))
    return tf.cond(tf.size(real) > 0, lambda: tf.math.reduce_std(real), lambda: tf.zeros([], vectors.dtype))


@dataclass(frozen=True)
class RecordingRecipe(CS3Recipe):
    """The recipe `cs3` on `RecordingCS3`.

    Args:
      rows: rows that are recorded at most.
    """

    rows: int = 1

    def group(self, *args: Any, **kwargs: Any) -> CS3:
        return RecordingCS3(*args, rows=self.rows, **kwargs, **self.values(CS3Options))
