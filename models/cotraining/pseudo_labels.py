"""Losses over the entire candidate space: true labels where they are known, given ones elsewhere."""

from typing import Literal

import tensorflow as tf

from models.cotraining.clicks import Clicks
from models.training.losses import cross_entropies


def conditional_loss(
    clicks: Clicks,
    logits: tf.Tensor,
    labels: tf.Tensor,
    unexposed_weight: float | tf.Tensor = 1.0,
    average: Literal["union", "group_mean"] = "union",
    by_confidence: bool = False,
) -> tf.Tensor:
    """Log loss against clicks on exposed candidates E and against given labels on unexposed ones N.

    `union`: 1/|E + N| (sum_E l_i + w sum_N l_i), DUET's equation 11 for w = 1; `group_mean`: mean_E l + w mean_N l.

    Args:
      clicks: labels and masks.
      logits: `[B, M]`.
      labels: of N, `[B, M]`; no gradient passes.
      unexposed_weight: w.
      average: as above.
      by_confidence: weighs each l_i of N by |2 label - 1| too.
    """
    labels = tf.stop_gradient(labels)
    known = cross_entropies(clicks.label, logits)
    given = cross_entropies(labels, logits) * unexposed_weight
    if by_confidence:
        given *= tf.abs(2 * labels - 1)
    if average == "group_mean":
        return clicks.mean_over_exposed(known) + clicks.mean_over_unexposed(given)
    return clicks.mean_over_real(tf.where(clicks.exposed > 0, known, given))


def symmetric_kl(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """1/2 [KL(p||q) + KL(q||p)] of Bernoulli distributions, from logits: 1/2 (p - q)(logit p - logit q).

    Exact, with no logarithm of a clipped probability.
    """
    return (tf.sigmoid(one) - tf.sigmoid(other)) * (one - other) / 2
