"""Masks of lists."""

import tensorflow as tf


def all_real(elements: tf.Tensor) -> tf.Tensor:
    """The mask of lists without padding, bool `[B, N]`, for elements `[B, N, ...]`."""
    return tf.ones(tf.shape(elements)[:2], tf.bool)
