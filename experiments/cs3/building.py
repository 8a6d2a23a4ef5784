"""Towers and the ranker behind them, ready for a pass over the stream."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from experiments.cs3.grid import CS3Grid
from experiments.cs3.methods import Method
from experiments.cs3.stream import Data
from models.cotraining.clicks import Clicks
from models.cotraining.cs3 import CS3, RANKER
from models.layers.tower_caches import SIDES
from models.registry import build_model
from models.retrieval.tower_model import TowerInput
from models.training.compiling import compile_model

TOWERS, OF_RANKER = "towers", "ranker"
_SEEDS_OF_A_RUN = 10
_KNOWN_ROWS = 4096
"""So many of the first rows tell the share of clicks that both models begin with."""


class WatchedCS3(CS3):
    """CS3 whose train step gives the logits of its batch as they were before the step."""

    def _logs(self, clicks: Clicks, outputs: Mapping[str, tf.Tensor], terms: Any) -> dict[str, tf.Tensor]:
        return dict(outputs)

    def revealed(self, data: Any) -> dict[str, tf.Tensor]:
        """Logits of a batch; then the caches take its labels, the weights stay."""
        clicks = Clicks.of(data)
        logits, sides = self(clicks.features, training=False, with_sides=True)
        self.write(clicks, sides)
        return dict(logits)

    def under_noise(self, features: Mapping[str, Any], noise: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Logits of the towers `[B]`, Gaussian noise on the vectors of their features.

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


def build(backbone: str, method: Method, data: Data, grid: CS3Grid, seed: int, rate: float) -> WatchedCS3:
    """The models of a cell, with an optimizer.

    Args:
      backbone: of the towers.
      method: the parts of CS3.
      data: that they take.
      grid: sizes.
      seed: of the towers' weights; the ranker's follows, and is the same whatever the method.
      rate: the learning rate of both.
    """
    sizes = {"embedding_dim": grid.embedding_dim, "hidden_units": grid.hidden_units}
    towers = build_model(
        backbone,
        data.inputs,
        data.table_sizes,
        seed=_SEEDS_OF_A_RUN * seed,
        cycle_adaptive=SIDES if method.cas else (),
        **sizes,
    )
    ranker = build_model(RANKER, data.inputs, data.table_sizes, seed=_SEEDS_OF_A_RUN * seed + 1, **sizes)
    group = WatchedCS3(
        towers,
        ranker,
        cts=method.cts,
        cms=method.cms,
        alpha=method.decay,
        beta=method.decay,
        leaky=method.leaky,
        softmax_weight=grid.softmax_weight,
        in_vocabulary_ids=data.in_vocabulary_ids,
    )
    group.build_variables()
    group.initialize_bias(float(data.splits["train"].label[:_KNOWN_ROWS].mean()))
    compile_model(group, rate)
    return group


def _deviation(vectors: tf.Tensor) -> tf.Tensor:
    """Of all numbers but padding's zeros; 0 where there is none."""
    real = tf.boolean_mask(vectors, tf.not_equal(vectors, 0))
    return tf.cond(tf.size(real) > 0, lambda: tf.math.reduce_std(real), lambda: tf.zeros([], vectors.dtype))
