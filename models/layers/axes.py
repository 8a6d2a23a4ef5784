"""Leading axes of a batch merged into one and split again."""

import tensorflow as tf


def merge_leading(tensor: tf.Tensor, inner: int) -> tf.Tensor:
    """`[..., inner axes]` as `[N, inner axes]`; the inner sizes must be known."""
    if tensor.shape.rank == inner + 1:
        return tensor
    return tf.reshape(tensor, [-1, *tensor.shape[-inner:]])


def split_leading(merged: tf.Tensor, like: tf.Tensor, inner: int) -> tf.Tensor:
    """`[N, ...]` with the leading axes of `like`, those before its `inner` last ones, in the place of N."""
    if like.shape.rank == inner + 1:
        return merged
    return tf.reshape(merged, tf.concat([tf.shape(like)[:-inner], merged.shape[1:].as_list()], axis=0))
