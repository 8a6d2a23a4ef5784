"""Labels of a batch, and losses over the entire candidate space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.replicas import batch_mean
from models.table_model import TableModel
from models.training.losses import cross_entropies
from transforms.features import CANDIDATE, EXPOSED, STAGE, WEIGHT


@dataclass(frozen=True)
class Clicks:
    """Labels of a batch, and the part of its records that they hold for.

    Args:
      label: in [0, 1]: `[B]` of rows, `[B, M]` of requests.
      weight: weight of each label: in requests 1 where the candidate is real and exposed, else 0; times the sample
        weights, if there are any; None: 1 everywhere.
      features: the batch; its mask `candidate`, if there is one, tells padding. Sample weights are in `weight`, and
        beside them the mask `exposed` of requests: an exposed candidate may have weight 0.
    """

    label: tf.Tensor
    weight: tf.Tensor | None
    features: Mapping[str, Any]

    @classmethod
    def of(cls, data: Any) -> "Clicks":
        """Builds it from the data of a train step: features, labels and, for requests, weights."""
        features, label, weight = keras.utils.unpack_x_y_sample_weight(data)
        return cls(label, weight, features)

    @property
    def real(self) -> tf.Tensor:
        """1 for every record or candidate that is no padding, float32."""
        if CANDIDATE in self.features:
            return tf.cast(self.features[CANDIDATE], tf.float32)
        return tf.ones_like(self.label, tf.float32)

    @property
    def exposed(self) -> tf.Tensor:
        """1 where the label is known, float32."""
        if EXPOSED in self.features:
            return tf.cast(self.features[EXPOSED], tf.float32) * self.real
        if self.weight is None or WEIGHT in self.features:
            return self.real
        return tf.cast(tf.cast(self.weight, tf.float32) > 0, tf.float32) * self.real

    @property
    def unexposed(self) -> tf.Tensor:
        """1 where a candidate is real and its label unknown, float32."""
        return self.real - self.exposed

    def weighted(self, mask: tf.Tensor) -> tf.Tensor:
        """Returns a float32 mask times the sample weights; the mask itself without any."""
        return mask * tf.cast(self.features[WEIGHT], tf.float32) if WEIGHT in self.features else mask

    def log_loss(self, logits: tf.Tensor) -> tf.Tensor:
        """Mean log loss over what was exposed."""
        return self.mean_over_exposed(cross_entropies(self.label, logits))

    def mean_over_exposed(self, values: tf.Tensor) -> tf.Tensor:
        """Weighted mean; 0 if nothing was exposed."""
        return batch_mean(values, self.weight)

    def mean_over_unexposed(self, values: tf.Tensor) -> tf.Tensor:
        """Mean by sample weights; 0 if all were exposed."""
        return batch_mean(values, self.weighted(self.unexposed))

    def mean_over_real(self, values: tf.Tensor) -> tf.Tensor:
        """Mean by sample weights over all candidates but padding."""
        return batch_mean(values, self.weighted(self.real))

    def stage(self) -> tf.Tensor:
        """Returns the funnel stage that each candidate reached, int64 `[B, M]`.

        Raises:
          ValueError: the records do not say.
        """
        if STAGE not in self.features:
            raise ValueError(
                "the records have no column 'stage'; expected how far each candidate got; choose a source that logs "
                "it, such as simulator or recflow, or a recipe without stages"
            )
        return tf.cast(self.features[STAGE], tf.int64)


def conditional_loss(
    clicks: Clicks,
    logits: tf.Tensor,
    labels: tf.Tensor,
    unexposed_weight: float | tf.Tensor = 1.0,
    average: Literal["union", "group_mean"] = "union",
    by_confidence: bool = False,
) -> tf.Tensor:
    """Log loss against clicks on exposed candidates E and against pseudo-labels on unexposed ones N.

    `union`: 1/|E + N| (sum_E l_i + w sum_N l_i), DUET's equation 11 for w = 1; `group_mean`: mean_E l + w mean_N l.

    Args:
      clicks: labels and masks.
      logits: `[B, M]`.
      labels: labels of the candidates in N, `[B, M]`; no gradient passes.
      unexposed_weight: w.
      average: as above.
      by_confidence: weighs each l_i of N by |2 label - 1| too.
    """
    labels = tf.stop_gradient(labels)
    known = cross_entropies(clicks.label, logits)
    pseudo = cross_entropies(labels, logits) * unexposed_weight
    if by_confidence:
        pseudo *= tf.abs(2 * labels - 1)
    if average == "group_mean":
        return clicks.mean_over_exposed(known) + clicks.mean_over_unexposed(pseudo)
    return clicks.mean_over_real(tf.where(clicks.exposed > 0, known, pseudo))


def symmetric_kl(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """1/2 [KL(p||q) + KL(q||p)] of Bernoulli distributions, from logits: 1/2 (p - q)(logit p - logit q).

    Exact, with no logarithm of a clipped probability.
    """
    return (tf.sigmoid(one) - tf.sigmoid(other)) * (one - other) / 2


def side_outputs_of(peers: Sequence[TableModel]) -> tuple[int, ...]:
    """Side outputs of models that give a click and the stages beyond the first.

    Raises:
      ValueError: a model has no output beside the click.
    """
    for peer in peers:
        if peer.outputs < 2:
            raise ValueError(
                f"{type(peer).__name__} has {peer.outputs} output; expected one for the click and one for each stage "
                "beyond the first; set model.options.outputs, e.g. to 3 for the stages ranked and exposed"
            )
    return tuple(peer.outputs - 1 for peer in peers)


def stage_loss(clicks: Clicks, logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Log losses of "the candidate got at least to stage j + 2", summed over outputs j = 0, 1, ..., real candidates.

    A stage is a coarse score of the logging system, known for every candidate; the backbone learns from it and from
    clicks.

    Args:
      clicks: with stages.
      logits: `[B, M]`, one a stage beyond the first.
    """
    stage = clicks.stage()
    reached = [tf.cast(stage >= level, tf.float32) for level in range(2, 2 + len(logits))]
    return tf.add_n([clicks.mean_over_real(cross_entropies(label, out)) for label, out in zip(reached, logits)])


def pairwise_loss(priority: tf.Tensor, real: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Mean of softplus(-(s_i - s_j)) over all pairs of a request with priority_i > priority_j.

    Reference: FS-LTR in "RecFlow: An Industrial Full Flow Recommendation Dataset" (ICLR 2025), with weights of 1.

    A pair weighs as much as the product of the weights of its candidates.

    Args:
      priority: `[B, M]`.
      real: weights of candidates, 0 for padding, `[B, M]`.
      scores: `[B, M]`.
    """
    above = tf.cast(priority[:, :, tf.newaxis] > priority[:, tf.newaxis, :], tf.float32)
    above *= real[:, :, tf.newaxis] * real[:, tf.newaxis, :]
    costs = tf.nn.softplus(scores[:, tf.newaxis, :] - scores[:, :, tf.newaxis])
    return tf.math.divide_no_nan(tf.reduce_sum(above * costs), tf.reduce_sum(above))
