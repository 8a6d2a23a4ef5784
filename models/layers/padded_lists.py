"""Lists of a batch: masks, last elements, and padded lists as ragged ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from transforms.features import ModelInput, Shape


def last_elements(lists: tf.RaggedTensor, max_length: int | None) -> tf.RaggedTensor:
    """The last elements of each list `[B, (N)]`; None keeps all."""
    return lists if max_length is None else lists[:, -max_length:]


def with_ragged_lists(features: Mapping[str, Any], inputs: Sequence[ModelInput]) -> Mapping[str, Any]:
    """Returns the features with padded lists `[B, N]` as `tf.RaggedTensor` `[B, (N)]`; others unchanged.

    A list of ids ends with its last id that is not 0. A zero among numbers may be a number, so that a padded list
    of numbers is as long as the longest list of ids in its record.

    Args:
      features: the batch.
      inputs: its features.

    Raises:
      ValueError: a padded list of numbers in a batch without a list of ids.
    """
    fields = [item for item in inputs if item.shape is Shape.RAGGED]
    if all(isinstance(features[item.name], tf.RaggedTensor) for item in fields):
        return features
    lists: dict[str, tf.RaggedTensor] = {}
    for item in sorted(fields, key=lambda item: item.vocabulary is None):
        value = features[item.name]
        if isinstance(value, tf.RaggedTensor):
            lists[item.name] = value
            continue
        dense = tf.convert_to_tensor(value)
        if item.vocabulary is None:
            lengths = _longest(item, [lists[one.name] for one in fields if one.vocabulary is not None])
        else:
            places = tf.range(1, tf.shape(dense, tf.int64)[1] + 1)
            lengths = tf.reduce_max(tf.cast(dense != 0, tf.int64) * places, axis=1)
            lengths = tf.maximum(lengths, 0)  # The maximum over no element is the least integer.
        lists[item.name] = tf.RaggedTensor.from_tensor(dense, tf.minimum(lengths, tf.shape(dense, tf.int64)[1]))
    return {**features, **lists}


def _longest(item: ModelInput, of_ids: Sequence[tf.RaggedTensor]) -> tf.Tensor:
    if not of_ids:
        raise ValueError(
            f"feature {item.name!r} is a dense list of numbers, in which a zero may be a number or padding; "
            "expected a ragged list [B, (N)], as no list of ids tells its length; give a tf.RaggedTensor"
        )
    return tf.reduce_max(tf.stack([tf.cast(value.row_lengths(), tf.int64) for value in of_ids]), axis=0)


def all_real(elements: tf.Tensor) -> tf.Tensor:
    """The mask of lists without padding, bool `[B, N]`, for elements `[B, N, ...]`."""
    return tf.ones(tf.shape(elements)[:2], tf.bool)
