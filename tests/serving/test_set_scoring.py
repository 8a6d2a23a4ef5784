"""The compiled and the plain head of a set model, beside each other in one process."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.set_vectors import SetVectors
from models.preranking.set_ranker import SetRanker
from serving.export.set_scoring import CANDIDATES, HISTORY, Buckets, SetScoring, buckets_of
from transforms.features import Column, Feature, FeatureSet

BUCKETS = Buckets((4, 8), (2, 5))


def _features(*limits: int | None) -> FeatureSet:
    lists = [
        Column(name=f"list{k}", dtype="int64", entity="user", variable_length=True, max_length=limit)
        for k, limit in enumerate(limits)
    ]
    names = ["user_id", "item_id", *(column.name for column in lists)]
    return FeatureSet(
        columns=tuple(lists), features=tuple(Feature(name=name, encoding="id") for name in names), list_size=3
    )


def _model(**changes: object) -> SetRanker:
    inputs = _features(None).model_inputs("request")
    sizes = {str(item.vocabulary): 10 for item in inputs}
    model = SetRanker(inputs, sizes, embedding_dim=4, hidden_units=(8,), width=4, heads=2, **changes)
    model.build_head()
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(0.0, 0.5, weight.shape).astype(np.float32))
    return model


def _vectors(candidates: int, history: int, batch: int = 1) -> SetVectors:
    random = np.random.default_rng(candidates + 10 * history)

    def normal(*shape: int) -> tf.Tensor:
        return tf.constant(random.normal(size=shape), tf.float32)

    real = tf.constant(random.random([batch, candidates]) < 0.8)
    read = tf.ones([batch, history], tf.bool)
    request, read_items, offered = normal(batch, 1, 4), normal(batch, history, 1, 4), normal(batch, candidates, 1, 4)
    return SetVectors(request, read_items, read, offered, real, linear=normal(batch, candidates))


def test_every_size_is_scored_as_without_xla_and_only_buckets_are_compiled() -> None:
    scoring = SetScoring(_model(), BUCKETS)
    last = {2: [None, None], 3: [None, 1, 4], 4: [None, None, 1, 4]}
    given: tuple[Any, ...] = _vectors(1, 1)
    specs = [tf.TensorSpec(last[part.shape.rank], part.dtype) for part in given if part is not None]
    bucketed = tf.function(lambda *parts: scoring.bucketed(SetVectors(*parts)), input_signature=specs, autograph=False)
    for candidates in (0, 1, 4, 5, 8, 9):
        for history in (0, 2, 3, 5, 6):
            for batch in (1, 2):
                vectors = _vectors(candidates, history, batch)
                found = bucketed(*(part for part in vectors if part is not None))
                wanted = scoring.plain(vectors)
                assert found.shape == (batch, candidates)
                real = vectors.candidate_mask.numpy()
                np.testing.assert_allclose(found.numpy()[real], wanted.numpy()[real], atol=1e-4)
    assert scoring._core.experimental_get_tracing_count() == len(BUCKETS.sizes())


def test_the_smallest_size_that_holds_a_request_is_chosen() -> None:
    scoring, seen = SetScoring(_model(), BUCKETS), []

    def core(*parts: tf.Tensor) -> tf.Tensor:
        tf.py_function(lambda: seen.append((parts[3].shape[1], parts[1].shape[1])), [], [])
        return tf.zeros([1, parts[3].shape[1]])

    scoring._core = core
    bucketed = tf.function(scoring.bucketed, reduce_retracing=True, autograph=False)
    for candidates, history in ((1, 1), (4, 2), (5, 2), (4, 3), (8, 5)):
        bucketed(_vectors(candidates, history))
    assert seen == [(4, 2), (4, 2), (8, 2), (4, 5), (8, 5)]


def test_a_model_that_is_compiled_already_is_refused() -> None:
    with pytest.raises(ValueError, match="jit_compile True; expected False.*jit_compile=False"):
        SetScoring(_model(jit_compile=True), BUCKETS)


@pytest.mark.parametrize(
    ("limits", "history"), [((), (0,)), ((7,), (7,)), ((7, 30), (30,)), ((7, None), HISTORY), ((None,), HISTORY)]
)
def test_histories_are_padded_to_their_limit_or_have_buckets(limits: tuple[int | None, ...], history: object) -> None:
    assert buckets_of(_features(*limits), "request") == Buckets(CANDIDATES, history)  # type: ignore[arg-type]
