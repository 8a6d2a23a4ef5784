"""Feature sets in which some kind of feature is missing: each model trains on them, or refuses them when it is made."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.registry import MODELS, build_model
from tests.helpers.generated_batches import SIZES, generated_batch, several_values
from transforms.features import ModelInput, RecordKind

_USER = ModelInput(name="user_id", vocabulary="users", shape="scalar", entity="user")
_AGE = ModelInput(name="age", vocabulary=None, shape="scalar", entity="user")
_READ = ModelInput(name="read", vocabulary="items", shape="ragged", entity="user", max_length=5)
_SECONDS = ModelInput(name="seconds", vocabulary=None, shape="ragged", entity="user", max_length=5)


def _item(record: RecordKind, name: str = "item_id", vocabulary: str | None = "items") -> ModelInput:
    return ModelInput(
        name=name, vocabulary=vocabulary, shape="scalar" if record == "row" else "candidates", entity="item"
    )


def _kinds(record: RecordKind) -> dict[str, list[ModelInput]]:
    item, price = _item(record), _item(record, "price", None)
    return {
        "history and item": [_READ, item],
        "numbers of a history and item": [_SECONDS, item],
        "item alone": [item],
        "item and its number": [item, price],
        "user and item": [_USER, item],
        "numbers alone": [_AGE, price],
        "numbers and histories of numbers": [_AGE, _SECONDS, price],
        "user alone": [_USER, _AGE],
        "histories alone": [_READ],
        "item and several values": [item, *several_values(record)],
    }


_FIELD_MODELS = {"deepfm", "dcn", "pnn", "fibinet", "cold"}
_TOWERS = {"dssm", "fism", "int_tower", "dat", "transformer_two_tower", "two_tower"}
_RECORDS: tuple[RecordKind, ...] = ("row", "request")
_CASES = [
    (name, record, kind)
    for name in MODELS
    for record in _RECORDS
    for kind in _kinds(record)
    if record == "row" or name not in _FIELD_MODELS or kind not in ("user alone", "histories alone")
]


def _is_refused(name: str, record: RecordKind, kind: str) -> bool:
    is_set = name not in _FIELD_MODELS
    has_item_id = "item" in kind
    return (
        (is_set and kind in ("user alone", "histories alone"))
        or (name == "set_ranker" and record == "row")
        or (name in _TOWERS and kind in ("item alone", "item and its number"))
        or (name == "int_tower" and not has_item_id)
        or (name == "dat" and kind != "user and item")
        or (name in ("pnn", "fibinet") and kind in ("item alone", "histories alone"))
    )


@pytest.mark.parametrize(("name", "record", "kind"), _CASES)
def test_a_feature_set_without_some_kind_trains_or_is_refused_at_once(name: str, record: RecordKind, kind: str) -> None:
    inputs = _kinds(record)[kind]
    sizes = {item.vocabulary: SIZES[item.vocabulary] for item in inputs if item.vocabulary is not None}

    def build() -> Any:
        return build_model(name, inputs, sizes, embedding_dim=4, hidden_units=(6, 4), seed=1)

    if _is_refused(name, record, kind):
        with pytest.raises(ValueError, match="expected"):
            build()
        return
    model, batch = build(), generated_batch(1, inputs, [3, 0, 5])
    label = tf.constant([1.0, 0.0, 1.0]) if record == "row" else tf.ones([3, 4])
    model(batch)

    @tf.function(autograph=False)
    def step(batch: dict[str, Any]) -> tuple[tf.Tensor, list[Any]]:
        with tf.GradientTape() as tape:
            logits = model(batch, training=True)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, tf.ensure_shape(logits, label.shape)))
        return loss, tape.gradient(loss, model.trainable_variables)

    loss, gradients = step(batch)
    assert np.isfinite(loss)
    assert all(gradient is not None for gradient in gradients)
