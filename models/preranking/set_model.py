"""The base of models that read a request as sets."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from models.layers.set_vectors import ROLES, SetVectors, roles_of
from models.table_model import TableModel
from transforms.features import ModelInput


class SetModel(TableModel):
    """A model that scores all candidates of a request in one pass.

    A subclass declares its options, makes its layers in `__init__`, and gives `head`. With `linear_terms` the linear
    terms of a candidate, its request and the mean of the history's are added to its logits.

    Args, call arguments: as `TableModel`.

    Output shape: logits `[B, M]`, or `[B, M, outputs]`, of which those of padding mean nothing; of rows `[B]`, or
    `[B, outputs]`: a row is a request with one candidate.
    """

    as_sets = True
    takes_linear = True

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        # Inputs without an item are refused before anything is built.
        self.roles = roles_of(self.embeddings.inputs)

    def interact(self, vectors: SetVectors, training: bool | None = None) -> tf.Tensor:
        logits = self.of_rows(self._head_function(self.head)(self.cast_sets(vectors), training))
        if vectors.linear is None:
            return logits
        linear = self.of_rows(vectors.linear)
        return logits + (linear[..., tf.newaxis] if self.outputs > 1 else linear)

    def cast_sets(self, vectors: SetVectors) -> SetVectors:
        """The vectors in the type that the head computes in, without the linear terms, which it does not read."""

        def cast(part: tf.Tensor | None) -> tf.Tensor | None:
            return tf.cast(part, self.compute_dtype) if part is not None and part.dtype.is_floating else part

        result: SetVectors = tf.nest.map_structure(cast, vectors._replace(linear=None))
        return result

    def of_rows(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits `[B, M]` in the weights' type; of rows, whose M is 1, `[B]`."""
        logits = tf.cast(logits, self.variable_dtype)
        has_candidates = any(item.shape.per_candidate for item in self.embeddings.inputs)
        return logits if has_candidates else tf.squeeze(logits, 1)

    @abc.abstractmethod
    def head(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        """Logits of requests."""

    def build_head(self) -> None:
        width, ones = self.embeddings.embedding_dim, tf.ones([1, 1], tf.bool)
        roles = list(self.roles.values())
        request, history, candidates = (roles.count(role) for role in ROLES)
        nothing = SetVectors(
            request=tf.zeros([1, request, width]),
            history=tf.zeros([1, 1, history, width]),
            history_mask=ones,
            candidates=tf.zeros([1, 1, candidates, width]),
            candidate_mask=ones,
        )
        self.interact(nothing, training=False)


def mean_history(vectors: SetVectors) -> tf.Tensor:
    """Mean of the real elements of each history, `[B, Fh, D]`; zeros where there is none."""
    real = tf.cast(vectors.history_mask, vectors.history.dtype)[:, :, tf.newaxis, tf.newaxis]
    count = tf.maximum(tf.reduce_sum(real, axis=1), 1)
    mean: Any = tf.reduce_sum(vectors.history * real, axis=1) / count
    return mean
