"""What a served graph asks of a request's candidates, so that a wrong request gets words and not an operation's."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from transforms.features import CANDIDATE, Column, Shape


def checked(
    raw: Mapping[str, tf.Tensor], columns: Sequence[Column], most_candidates: int | None
) -> dict[str, tf.Tensor]:
    """The same tensors, once they have passed; otherwise the call ends with INVALID_ARGUMENT.

    Args:
      raw: the tensors of a request, by column.
      columns: its columns.
      most_candidates: None is no limit.
    """
    own = [column.name for column in columns if column.shape("request") is Shape.CANDIDATES]
    mask = tf.shape(raw[CANDIDATE])
    shapes = tf.stack([tf.shape(raw[name]) for name in own])
    alike = ["candidates: received shapes", shapes, "of", ", ".join(own), "; expected [B, M] of all; complete them"]
    checks = [tf.debugging.Assert(tf.reduce_all(shapes == mask), alike, summarize=2 * len(own))]
    if most_candidates is not None:
        limit = tf.constant(most_candidates)
        few = f"; expected at most {most_candidates}; send the others in another request, or ask the signature 'plain'"
        checks.append(tf.debugging.Assert(mask[1] <= limit, ["candidates: received", mask[1], few]))
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in raw.items()}
