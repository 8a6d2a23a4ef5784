from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.registry import MODELS, build_model
from tests.helpers.generated_batches import (
    HISTORY_LENGTH,
    SIZES,
    drawn_weights,
    generated_batch,
    generated_inputs,
    with_dense_histories,
    with_padded_candidates,
)
from transforms.features import ModelInput, RecordKind

_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "dcn": [{}, {"cross": "mixture", "structure": "stacked_parallel"}],
    "pnn": [{}, {"product": "outer"}],
    "set_ranker": [{"feature_map": name} for name in ("elu1", "relu", "softmax_qk", "exact")],
    "transformer_two_tower": [{}, {"pool": "last"}],
}
_VARIANTS = [(name, options) for name in MODELS for options in _OPTIONS.get(name, [{}])]
_KINDS: dict[str, tuple[RecordKind, ...]] = {"set_ranker": ("request",)}
_CASES = [
    pytest.param(name, record, options, id="-".join([name, record, *map(str, options.values())]))
    for name, options in _VARIANTS
    for record in _KINDS.get(name, ("row", "request"))
]
_LENGTHS = [3, 0, 9, 1]


def _model(name: str, inputs: list[ModelInput], options: dict[str, Any]) -> Any:
    return build_model(name, inputs, SIZES, embedding_dim=4, hidden_units=(8, 6), seed=1, **options)


def _assert_same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


def _alone(batch: dict[str, Any], place: int) -> dict[str, Any]:
    return {name: value[place : place + 1] for name, value in batch.items()}


@pytest.mark.parametrize(("name", "record", "options"), _CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_record_has_the_score_that_it_has_alone(
    name: str, record: RecordKind, options: dict[str, Any], seed: int
) -> None:
    inputs = generated_inputs(seed, record)
    batch = generated_batch(seed, inputs, _LENGTHS)
    model = drawn_weights(_model(name, inputs, options), batch)
    together = model(batch, training=False)
    for place in range(len(_LENGTHS)):
        scores = model(_alone(batch, place), training=False)[0]
        real = 3 if record == "request" else None
        _assert_same(scores[:real] if real else scores, together[place][:real] if real else together[place])


@pytest.mark.parametrize(("name", "record", "options"), _CASES)
def test_histories_of_numbers_alone_end_where_they_end(name: str, record: RecordKind, options: dict[str, Any]) -> None:
    inputs = generated_inputs(4, record, ("seconds", "prices"))
    short = generated_batch(4, inputs, [3])
    model = drawn_weights(_model(name, inputs, options), short)
    long = generated_batch(4, inputs, [3, 5])
    _assert_same(model(short, training=False)[0], model(long, training=False)[0])


@pytest.mark.parametrize("name", MODELS)
def test_padding_of_candidates_does_not_matter(name: str) -> None:
    inputs = generated_inputs(5, "request")
    batch = generated_batch(5, inputs, _LENGTHS)
    model = drawn_weights(_model(name, inputs, {}), batch)
    padded = model(with_padded_candidates(batch, inputs, 20), training=False)
    _assert_same(model(batch, training=False)[:, :3], padded[:, :3])


@pytest.mark.parametrize("histories", [("read",), ("read", "read_category"), ("read", "seconds")])
@pytest.mark.parametrize("name", ["deepfm", "dssm", "set_ranker", "target_attention_ranker"])
def test_padded_histories_have_the_scores_of_ragged_ones(name: str, histories: tuple[str, ...]) -> None:
    inputs = generated_inputs(6, "request", histories)
    batch = generated_batch(6, inputs, [3, 0, 5, 1])
    model = drawn_weights(_model(name, inputs, {}), batch)
    ragged = model(batch, training=False)
    for width in (HISTORY_LENGTH, 12):
        _assert_same(ragged, model(with_dense_histories(batch, width), training=False))


def test_padded_numbers_without_ids_are_refused_as_a_zero_may_be_a_number() -> None:
    inputs = generated_inputs(6, "row", ("seconds",))
    batch = generated_batch(6, inputs, [3, 0])
    with pytest.raises(ValueError, match="'seconds' is a dense list of numbers"):
        _model("deepfm", inputs, {})(with_dense_histories(batch, 5))


def test_longer_histories_of_batch_mates_do_not_change_a_trained_step() -> None:
    inputs = generated_inputs(7, "row", ("seconds",))
    short, long = generated_batch(7, inputs, [2, 3]), generated_batch(7, inputs, [2, 3, 5])
    gradients = []
    for batch in (short, long):
        model = drawn_weights(_model("target_attention_ranker", inputs, {}), short)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(batch, training=True)[:2])
        gradients.append(tape.gradient(loss, model.last.trainable_weights))
    for one, other in zip(*gradients, strict=True):
        _assert_same(one, other)
