"""What the funnel itself says of candidates that were not exposed: how far they got."""

from collections.abc import Sequence

import tensorflow as tf

from models.cotraining.clicks import Clicks
from models.table_model import TableModel
from models.training.losses import cross_entropies


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

    The stages hold what the log's own scoring saw in every candidate, in an order of a few levels, for ten
    times as many candidates as have a label; what they share with clicks, the backbone learns from both.

    Args:
      clicks: with stages.
      logits: `[B, M]`, one a stage beyond the first.
    """
    stage = clicks.stage()
    reached = [tf.cast(stage >= level, tf.float32) for level in range(2, 2 + len(logits))]
    return tf.add_n([clicks.mean_over_real(cross_entropies(own, out)) for own, out in zip(reached, logits)])


def pairwise_loss(priority: tf.Tensor, real: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Mean of softplus(-(s_i - s_j)) over all pairs of a request with priority_i > priority_j.

    Reference: FS-LTR in "RecFlow: An Industrial Full Flow Recommendation Dataset" (ICLR 2025), with weights of 1.

    Args:
      priority: `[B, M]`.
      real: 1 for candidates, 0 for padding, `[B, M]`.
      scores: `[B, M]`.
    """
    above = tf.cast(priority[:, :, tf.newaxis] > priority[:, tf.newaxis, :], tf.float32)
    above *= real[:, :, tf.newaxis] * real[:, tf.newaxis, :]
    costs = tf.nn.softplus(scores[:, tf.newaxis, :] - scores[:, :, tf.newaxis])
    return tf.math.divide_no_nan(tf.reduce_sum(above * costs), tf.reduce_sum(above))
