"""Sums and means over a batch of which each replica of a `tf.distribute` strategy holds a part."""

import tensorflow as tf


def num_replicas() -> int:
    """Replicas that share a batch; 1 outside of a strategy, and while a model is built."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def replica_seed(seed: int) -> int | tf.Tensor:
    """A seed for each replica, so that they do not draw alike; that of one alone, or of the first, is `seed`."""
    if num_replicas() == 1:
        return seed
    index = tf.distribute.get_replica_context().replica_id_in_sync_group
    return seed + 1_000_003 * tf.cast(index, tf.int64)


def batch_sum(part: tf.Tensor) -> tf.Tensor:
    """Sum of something over the replicas; a constant for the gradient. With one replica `part` itself.

    Args:
      part: this replica's.
    """
    if num_replicas() == 1:
        return part
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(part))
    return tf.stop_gradient(total)


def batch_mean(values: tf.Tensor, weight: tf.Tensor | None = None) -> tf.Tensor:
    """Weighted mean over the batch, sum of w v / sum of w; each replica's gradient is that of its part.

    Under R replicas, with S_r a replica's own sum of w v and W the batch's sum of w, the value is the
    batch's, and the gradient that of R S_r / W. Divided by R, as Keras and our train steps do with every
    loss, and summed over the replicas, as optimizers do with gradients, that is the gradient of the
    mean, whatever the parts' sizes and weights.

    Args:
      values: any shape.
      weight: likewise, or one that broadcasts to it; None weights all alike. If all sum to zero the mean is 0.
    """
    replicas = num_replicas()
    if weight is None and replicas == 1:
        return tf.reduce_mean(values)
    weights = tf.ones_like(values) if weight is None else _spread(weight, values)
    weighted, total = tf.reduce_sum(values * weights), tf.reduce_sum(weights)
    if replicas == 1:
        return tf.math.divide_no_nan(weighted, total)
    everyone, total = tf.unstack(batch_sum(tf.stack([weighted, total])))
    return _valued(tf.math.divide_no_nan(everyone, total), replicas * tf.math.divide_no_nan(weighted, total))


def replica_mean(part: tf.Tensor) -> tf.Tensor:
    """A term of the loss as the mean over the replicas; each one's gradient is that of its part."""
    replicas = num_replicas()
    return part if replicas == 1 else _valued(batch_sum(part) / replicas, part)


def _valued(value: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    return part + tf.stop_gradient(value - part)


def _spread(weight: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.broadcast_to(tf.cast(weight, values.dtype), tf.shape(values))


def shares(distinct: tf.Tensor) -> tf.Tensor | None:
    """For each id R over the number of replicas that look it up, so that it counts once in a sum; None if R is 1.

    Args:
      distinct: distinct ids of this replica's part, `[U]`.

    Returns:
      float32 `[U]`.
    """
    replicas = num_replicas()
    if replicas == 1:
        return None
    everyone = tf.distribute.get_replica_context().all_gather(distinct, axis=0)
    # A replica's own ids stand first, so that they come first among the distinct ones.
    _, _, counts = tf.unique_with_counts(tf.concat([distinct, everyone], axis=0))
    num_holders = counts[: tf.size(distinct)] - 1
    return replicas / tf.cast(num_holders, tf.float32)
