"""A softmax over the items of a batch."""

import tensorflow as tf

from models.layers.replicas import batch_mean


class SampledSoftmax:
    """Log loss of finding each clicked item among the items of its batch, with the layers of `tfrs.tasks.Retrieval`.

    With q_j how likely the item of row j is to stand in a row of a batch:

      s_ij = <u_i, v_j> / t - ln q_j
      loss = mean over clicked rows i of -ln( exp(s_ii) / sum_j exp(s_ij) )

    where j is i and all rows with other items (a row with the same item is an accidental hit, no negative).
    The term ln q_j makes up for popular items being drawn as negatives more often. Items of rows without a
    click are negatives, too; so q is of rows, not of clicks.

    Reference: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations"
    (RecSys 2019).

    Args:
      temperature: t.

    Call arguments:
      user: u `[B, W]`.
      item: v `[B, W]`.
      item_ids: `[B]`.
      probabilities: q `[B]`, in (0, 1]; less than 1e-6 counts as 1e-6.
      clicked: bool `[B]`; or weights of the clicked rows, 0 for the others.

    Output shape: a scalar, 0 without a click; for several replicas see `batch_mean`: each sees its own items.

    Raises:
      ValueError: a temperature that is not above 0.
    """

    def __init__(self, temperature: float = 1.0):
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; expected more than 0; products are divided by it")
        # The package brings in a good deal, and only this loss needs it. Not `tfrs.tasks.Retrieval` itself: it needs
        # AutoGraph, whose conversion takes longer than tracing all the rest of a train step.
        from tensorflow_recommenders.layers import loss as layers

        self.temperature = temperature
        self._correct, self._remove_hits = layers.SamplingProbablityCorrection(), layers.RemoveAccidentalHits()

    def __call__(
        self, user: tf.Tensor, item: tf.Tensor, item_ids: tf.Tensor, probabilities: tf.Tensor, clicked: tf.Tensor
    ) -> tf.Tensor:
        scores = tf.matmul(tf.cast(user, tf.float32), tf.cast(item, tf.float32), transpose_b=True) / self.temperature
        positive = tf.eye(tf.shape(scores)[0])
        scores = self._correct(scores, tf.cast(probabilities, tf.float32))
        scores = self._remove_hits(positive, scores, item_ids)
        losses = tf.nn.softmax_cross_entropy_with_logits(positive, scores)
        return batch_mean(losses, tf.cast(clicked, tf.float32))
