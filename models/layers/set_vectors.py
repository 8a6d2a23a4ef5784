"""The vectors of a request as sets: user and context, history, and candidates."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models.layers.padded_lists import last_elements
from transforms.features import CANDIDATE, ModelInput, Shape

ROLES = ("request", "history", "candidates")


class FactoredFields(NamedTuple):
    """The fields of candidates side by side, in which a number x_i is kept apart from its learned vector v_i.

    A product with them needs one column for each number, in the place of the D of x_i v_i, and the vectors times the
    kernel, which is small: (x_i v_i) K_i = x_i (v_i K_i).

    Args:
      columns: `[B, M, C + S]`: the vectors of all other fields, then the S numbers.
      vectors: `[S, D]`, those of the numbers.
    """

    columns: tf.Tensor
    vectors: tf.Tensor

    @property
    def width(self) -> int:
        """Width F D of the fields."""
        numbers, width = self.vectors.shape
        return int(self.columns.shape[-1] + numbers * (width - 1))

    def rows(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the kernel `[C + S, U]` for `columns` of one for the fields, `[F D, U]`."""
        numbers, width = self.vectors.shape
        if not numbers:
            return kernel
        others, last = tf.split(kernel, [-1, numbers * width])
        last = tf.reshape(last, [numbers, width, kernel.shape[-1]])
        return tf.concat([others, tf.squeeze(self.vectors[:, tf.newaxis] @ last, 1)], axis=0)


def product(inputs: "tf.Tensor | FactoredFields", kernel: tf.Tensor) -> tf.Tensor:
    """Returns `inputs @ kernel`, `[..., U]`.

    Args:
      inputs: `[..., X]`.
      kernel: `[X, U]`.
    """
    if isinstance(inputs, FactoredFields):
        inputs, kernel = inputs.columns, inputs.rows(kernel)
    # Not `@`, whose gradient makes a kernel a set, and sums them.
    return tf.tensordot(inputs, kernel, 1)


class SetVectors(NamedTuple):
    """Embeddings of a batch of requests. A mask is True where an entry is real.

    A row is a request with one candidate, its item: M is 1.

    Args:
      request: `[B, Fr, D]`: fields of the user and of the context.
      history: `[B, N, Fh, D]`: fields of the user's history, most recent last, padded at the end.
      history_mask: bool `[B, N]`.
      candidates: `[B, M, Fc, D]`.
      candidate_mask: bool `[B, M]`.
      linear: sum of the linear terms of each candidate, of its request and of the history, `[B, M]`; None without.
      factored: what `candidates` has, in which numbers are apart; None: all of it is in `candidates` alone.

    A part without fields has F = 0; without history N is 0, too.
    """

    request: tf.Tensor
    history: tf.Tensor
    history_mask: tf.Tensor
    candidates: tf.Tensor
    candidate_mask: tf.Tensor
    linear: tf.Tensor | None = None
    factored: FactoredFields | None = None

    @property
    def fields(self) -> FactoredFields:
        """The candidates' fields, flat; with numbers apart, if that is known."""
        if self.factored is not None:
            return self.factored
        return FactoredFields(flat_fields(self.candidates), tf.zeros([0, self.candidates.shape[-1]]))

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
            None if self.linear is None else sized(self.linear, candidates),
        )


def flat_fields(vectors: tf.Tensor) -> tf.Tensor:
    """`[..., F, D]` as `[..., F D]`."""
    fields, width = vectors.shape[-2:]
    return tf.reshape(vectors, tf.concat([tf.shape(vectors)[:-2], [fields * width]], axis=0))


def roles_of(inputs: Sequence[ModelInput]) -> dict[str, str]:
    """Returns the role of each input, one of `ROLES`.

    Raises:
      ValueError: there is neither a list of candidates nor, in rows, anything of an item.
    """
    has_lists = any(item.shape.per_candidate for item in inputs)
    roles = {}
    for item in inputs:
        offered = item.shape.per_candidate or item.entity == "item"
        if item.shape is Shape.RAGGED:
            roles[item.name] = "history"
        else:
            roles[item.name] = "candidates" if offered and (not has_lists or item.shape.per_candidate) else "request"
    if "candidates" not in roles.values():
        raise ValueError(
            f"no feature is of an item; received {', '.join(roles) or 'none'}; expected some to tell candidates apart; "
            "keep the item's features in the FeatureSet"
        )
    return roles


def check_user_side(model: str, roles: Mapping[str, str]) -> None:
    """Refuses inputs of which a user's tower would read none.

    Args:
      model: that has such a tower.
      roles: result of `roles_of`.

    Raises:
      ValueError: all inputs are of items.
    """
    if set(roles.values()) == {"candidates"}:
        raise ValueError(
            f"{model} has a user tower, and all features are of items: {', '.join(roles)}; expected at least one "
            "feature of the user, the context or a history; keep one in the FeatureSet, or choose a ranker"
        )


def sets_of(
    parts: Mapping[str, Sequence[tf.Tensor]],
    width: int,
    features: Mapping[str, Any],
    history_mask: tf.Tensor | None,
    numbers: tuple[tf.Tensor, tf.Tensor] | None = None,
) -> SetVectors:
    """One model's vectors.

    Args:
      parts: groups of fields of each role, `[B, F, D]`, `[B, N, F, D]` or `[B, M, F, D]`; of rows the candidates
        are `[B, F, D]`.
      width: D.
      features: the batch, its lists dense.
      history_mask: mask that `with_dense_lists` returns.
      numbers: those of the last group of the candidates' fields, `[B, S]` or `[B, M, S]`, and their vectors `[S, D]`;
        None: that group is not of numbers.
    """
    candidates, factored = tf.concat(parts["candidates"], axis=-2), None
    if numbers is not None:
        columns = tf.concat([*map(flat_fields, parts["candidates"][:-1]), numbers[0]], axis=-1)
        factored = FactoredFields(columns if columns.shape.rank == 3 else columns[:, tf.newaxis], numbers[1])
    if candidates.shape.rank == 3:
        candidates = candidates[:, tf.newaxis]
    real = candidate_mask(features, candidates)
    batch = tf.shape(real)[0]
    return SetVectors(
        request=tf.concat(parts["request"], axis=-2) if parts["request"] else tf.zeros([batch, 0, width]),
        history=tf.concat(parts["history"], axis=-2) if parts["history"] else tf.zeros([batch, 0, 0, width]),
        history_mask=tf.zeros([batch, 0], tf.bool) if history_mask is None else history_mask,
        candidates=candidates,
        candidate_mask=real,
        factored=factored,
    )


def with_dense_lists(
    features: Mapping[str, Any], inputs: Sequence[ModelInput]
) -> tuple[dict[str, Any], tf.Tensor | None]:
    """The features with all lists `[B, (N)]` as `[B, N]`, and which elements are real.

    N is the length of the batch's longest list; behind a list's end are zeros. Lists longer than their input's
    `max_length` keep their last elements. An element is real if it has an id in any list; where no list is of ids,
    if it stands before the end of any list. So what is padding in one batch is padding in all.

    Returns:
      features; and a mask, bool `[B, N]`, None without lists.
    """
    fields = [item for item in inputs if item.shape is Shape.RAGGED]
    if not fields:
        return dict(features), None
    lists = {item.name: last_elements(features[item.name], item.max_length) for item in fields}
    dense = {name: value.to_tensor() for name, value in lists.items()}
    if len(dense) > 1:
        longest = tf.reduce_max(tf.stack([tf.shape(value)[1] for value in dense.values()]))
        dense = {name: tf.pad(value, [[0, 0], [0, longest - tf.shape(value)[1]]]) for name, value in dense.items()}
    ids = [dense[item.name] != 0 for item in fields if item.vocabulary is not None]
    if ids:
        real = tf.reduce_any(tf.stack(ids), axis=0)
    else:
        lengths = tf.reduce_max(tf.stack([value.row_lengths() for value in lists.values()]), axis=0)
        real = tf.sequence_mask(lengths, tf.shape(next(iter(dense.values())))[1])
    return {**features, **dense}, real


def candidate_mask(features: Mapping[str, Any], like: tf.Tensor) -> tf.Tensor:
    """The batch's mask `candidate`, bool `[B, M]`; all real where it has none.

    Args:
      features: the batch.
      like: candidates `[B, M, ...]`.
    """
    if CANDIDATE in features:
        return tf.cast(features[CANDIDATE], tf.bool)
    return tf.ones(tf.shape(like)[:2], tf.bool)
