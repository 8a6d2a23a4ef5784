"""Feature sets and batches by a seed: any mix of ids and numbers, of histories with holes, of several values."""

from typing import Any

import numpy as np
import tensorflow as tf

from transforms.features import CANDIDATE, ModelInput, RecordKind

SIZES = {"users": 7, "items": 11, "categories": 5}
HISTORY_LENGTH = 5
_HISTORIES = {"read": "items", "read_category": "categories", "seconds": None, "prices": None}


def generated_inputs(seed: int, record: RecordKind, histories: tuple[str, ...] | None = None) -> list[ModelInput]:
    """The two ids, and some of everything else.

    Args:
      seed: of the choice.
      record: of rows or requests.
      histories: names among `_HISTORIES`; None: some.
    """
    rng = np.random.default_rng(seed)
    of_item: Any = "scalar" if record == "row" else "candidates"
    chosen = [
        ModelInput(name="age", vocabulary=None, shape="scalar", entity="user"),
        ModelInput(name="hour", vocabulary="categories", shape="scalar", entity="context"),
        ModelInput(name="category", vocabulary="categories", shape=of_item, entity="item"),
        ModelInput(name="price", vocabulary=None, shape=of_item, entity="item"),
        *several_values(record),
    ]
    lists = [
        ModelInput(name=name, vocabulary=vocabulary, shape="ragged", entity="user", max_length=HISTORY_LENGTH)
        for name, vocabulary in _HISTORIES.items()
        if (rng.random() < 0.6 if histories is None else name in histories)
    ]
    ids = [
        ModelInput(name="user_id", vocabulary="users", shape="scalar", entity="user"),
        ModelInput(name="item_id", vocabulary="items", shape=of_item, entity="item"),
    ]
    return [*ids, *(item for item in chosen if rng.random() < 0.7), *lists]


def several_values(record: RecordKind) -> list[ModelInput]:
    """Several ids and a vector of numbers, of the user and of items."""
    of_item: Any = "values" if record == "row" else "candidate_values"
    return [
        ModelInput(name="likes", vocabulary="items", shape="values", entity="user", width=2, pooling="mean"),
        ModelInput(name="taste", vocabulary=None, shape="values", entity="user", width=4),
        ModelInput(name="tags", vocabulary="categories", shape=of_item, entity="item", width=3, pooling="max"),
        ModelInput(name="image", vocabulary=None, shape=of_item, entity="item", width=2),
    ]


def generated_batch(seed: int, inputs: list[ModelInput], lengths: list[int], candidates: int = 4) -> dict[str, Any]:
    """A batch, of which each record depends on the seed and its place alone.

    Args:
      seed: of the values.
      inputs: the features.
      lengths: of each record's histories; may be 0, or above the inputs' `max_length`.
      candidates: of a request; the last one is padding.
    """
    batch = {item.name: _values(seed, item, lengths, candidates) for item in inputs}
    if any(item.shape.per_candidate for item in inputs):
        real = np.ones([len(lengths), candidates], np.int64)
        real[:, -1] = 0
        batch[CANDIDATE] = tf.constant(real)
    return batch


def _values(seed: int, item: ModelInput, lengths: list[int], candidates: int) -> Any:
    name = sum(map(ord, item.name))
    sizes = {"scalar": None, "candidates": candidates}
    values = []
    for place, length in enumerate(lengths):
        rng = np.random.default_rng([seed, name, place])
        # A hole is an id 0; the last element is none, so that padding and list can be told apart.
        drawn = rng.normal(1, 1, 20) if item.vocabulary is None else rng.integers(0, SIZES[item.vocabulary], 20)
        if item.width is not None:
            sizes_of_record = item.shape.sizes(None, candidates, None, item.width)[1:]
            values.append(drawn[: np.prod(sizes_of_record)].reshape(sizes_of_record).tolist())
            continue
        size = sizes.get(item.shape.value, length)
        if item.shape == "ragged" and item.vocabulary is not None and length:
            drawn[length - 1] = 1 + place % 3
        values.append(drawn[0] if size is None else drawn[:size].tolist())
    dtype = tf.float32 if item.vocabulary is None else tf.int64
    if item.shape == "ragged":
        return tf.ragged.constant(values, dtype, ragged_rank=1, row_splits_dtype=tf.int64)
    return tf.constant(values, dtype)


def with_padded_candidates(batch: dict[str, Any], inputs: list[ModelInput], count: int) -> dict[str, Any]:
    """The same requests with more padding, which holds anything."""
    named = {item.name: 3 for item in inputs if item.shape.per_candidate} | {CANDIDATE: 0}
    return batch | {
        name: tf.pad(
            batch[name],
            [[0, 0], [0, count], [0, 0]][: batch[name].shape.rank],
            constant_values=tf.cast(value, batch[name].dtype),
        )
        for name, value in named.items()
    }


def with_dense_histories(batch: dict[str, Any], width: int) -> dict[str, Any]:
    """The same records with histories `[B, N]`, zeros behind."""
    return {
        name: value.to_tensor(shape=[None, width]) if isinstance(value, tf.RaggedTensor) else value
        for name, value in batch.items()
    }


def drawn_weights(model: Any, batch: dict[str, Any]) -> Any:
    """The model with weights of which none is near zero, so that everything matters."""
    model(batch, training=False)
    for index, weight in enumerate(model.trainable_weights):
        weight.assign_add(np.random.default_rng(index).normal(size=weight.shape, scale=0.3))
    return model
