"""What a model that reads a request as sets sees of it: who asks, what was read before, and all candidates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from transforms.features import CANDIDATE, ModelInput, Shape

ROLES = ("request", "history", "candidates")


class SetVectors(NamedTuple):
    """Embeddings of a batch of requests. A mask is True where an entry is real.

    A row is a request with one candidate, its item: M is 1.

    Args:
      request: `[B, Fr, D]`: fields of the user and of the context.
      history: `[B, N, Fh, D]`: fields of the user's history, most recent last, padded at the end.
      history_mask: bool `[B, N]`.
      candidates: `[B, M, Fc, D]`.
      candidate_mask: bool `[B, M]`.

    A part without fields has F = 0; without history N is 0, too.
    """

    request: tf.Tensor
    history: tf.Tensor
    history_mask: tf.Tensor
    candidates: tf.Tensor
    candidate_mask: tf.Tensor

    def resized(self, candidates: int, history: int) -> "SetVectors":
        """Padded at the end to static sizes, which XLA needs; both must be at least what is there."""
        batch = self.request.shape[0]

        def sized(tensor: tf.Tensor, size: int) -> tf.Tensor:
            missing = size - tf.shape(tensor)[1]
            padded = tf.pad(tensor, [[0, 0], [0, missing], *[[0, 0]] * (tensor.shape.rank - 2)])
            return tf.ensure_shape(padded, [batch, size, *tensor.shape[2:]])

        return SetVectors(
            self.request,
            sized(self.history, history),
            sized(self.history_mask, history),
            sized(self.candidates, candidates),
            sized(self.candidate_mask, candidates),
        )


def roles_of(inputs: Sequence[ModelInput]) -> dict[str, str]:
    """What each input is a part of, one of `ROLES`.

    Raises:
      ValueError: there is neither a list of candidates nor, in rows, anything of an item.
    """
    has_lists = any(item.shape is Shape.CANDIDATES for item in inputs)
    roles = {}
    for item in inputs:
        offered = item.shape is Shape.CANDIDATES or (item.shape is Shape.SCALAR and item.entity == "item")
        if item.shape is Shape.RAGGED:
            roles[item.name] = "history"
        else:
            roles[item.name] = (
                "candidates" if offered and (not has_lists or item.shape is Shape.CANDIDATES) else "request"
            )
    if "candidates" not in roles.values():
        raise ValueError(
            f"no feature is of an item; received {', '.join(roles) or 'none'}; expected some to tell candidates apart; "
            "keep the item's features in the FeatureSet"
        )
    return roles


def sets_of(
    parts: Mapping[str, Sequence[tf.Tensor]], width: int, features: Mapping[str, Any], inputs: Sequence[ModelInput]
) -> SetVectors:
    """One model's vectors.

    Args:
      parts: groups of fields of each role, `[B, F, D]`, `[B, N, F, D]` or `[B, M, F, D]`; of rows the candidates
        are `[B, F, D]`.
      width: D.
      features: the batch, its lists dense.
      inputs: its features.
    """
    candidates = tf.concat(parts["candidates"], axis=-2)
    if candidates.shape.rank == 3:
        candidates = candidates[:, tf.newaxis]
    real = candidate_mask(features, candidates)
    batch = tf.shape(real)[0]
    read = history_mask(features, inputs)
    return SetVectors(
        request=tf.concat(parts["request"], axis=-2) if parts["request"] else tf.zeros([batch, 0, width]),
        history=tf.concat(parts["history"], axis=-2) if parts["history"] else tf.zeros([batch, 0, 0, width]),
        history_mask=tf.zeros([batch, 0], tf.bool) if read is None else read,
        candidates=candidates,
        candidate_mask=real,
    )


def with_dense_lists(features: Mapping[str, Any], inputs: Sequence[ModelInput]) -> dict[str, Any]:
    """The features with all lists `[B, (N)]` as `[B, N]`, N the longest list's length, zeros behind.

    Lists longer than their input's `max_length` keep their last elements.
    """
    lists = {item.name: _last(features[item.name], item.max_length) for item in inputs if item.shape is Shape.RAGGED}
    dense = {name: value.to_tensor() for name, value in lists.items()}
    if len(dense) > 1:
        longest = tf.reduce_max(tf.stack([tf.shape(value)[1] for value in dense.values()]))
        dense = {name: tf.pad(value, [[0, 0], [0, longest - tf.shape(value)[1]]]) for name, value in dense.items()}
    return {**features, **dense}


def history_mask(features: Mapping[str, Any], inputs: Sequence[ModelInput]) -> tf.Tensor | None:
    """Which elements of dense histories are real: those with an id in any list; None without lists.

    Lists of numbers alone cannot tell a zero from padding, so that then all count as real.
    """
    lists = [item for item in inputs if item.shape is Shape.RAGGED]
    ids = [features[item.name] != 0 for item in lists if item.space is not None]
    if ids:
        return tf.reduce_any(tf.stack(ids), axis=0)
    return tf.ones_like(features[lists[0].name], tf.bool) if lists else None


def candidate_mask(features: Mapping[str, Any], like: tf.Tensor) -> tf.Tensor:
    """The batch's mask `candidate`, bool `[B, M]`; all real where it has none.

    Args:
      features: the batch.
      like: candidates `[B, M, ...]`.
    """
    if CANDIDATE in features:
        return tf.cast(features[CANDIDATE], tf.bool)
    return tf.ones(tf.shape(like)[:2], tf.bool)


def _last(lists: tf.RaggedTensor, max_length: int | None) -> tf.RaggedTensor:
    return lists if max_length is None else lists[:, -max_length:]
