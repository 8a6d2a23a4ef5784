from itertools import combinations
from pathlib import Path

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.layers.fm import FactorizationMachine
from tests.helpers.layer_check import check_layer

_VECTORS = arrays(np.float32, (3, 4, 2), elements=st.floats(-2, 2, width=32))


def test_pairs_of_three_fields_by_hand() -> None:
    # <a,b> = 1*3 + 2*1 = 5, <a,c> = 1*0 + 2*2 = 4, <b,c> = 3*0 + 1*2 = 2
    vectors = tf.constant([[[1.0, 2.0], [3.0, 1.0], [0.0, 2.0]]])
    assert FactorizationMachine()(vectors).numpy().tolist() == [11.0]


@settings(deadline=None, max_examples=30)
@given(_VECTORS)
def test_equals_the_explicit_sum_over_pairs(vectors: np.ndarray) -> None:
    explicit = sum((vectors[:, i] * vectors[:, j]).sum(-1) for i, j in combinations(range(4), 2))
    np.testing.assert_allclose(FactorizationMachine()(tf.constant(vectors)).numpy(), explicit, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(_VECTORS, st.permutations(range(4)))
def test_order_of_fields_does_not_matter(vectors: np.ndarray, order: list[int]) -> None:
    layer = FactorizationMachine()
    shuffled = layer(tf.constant(vectors[:, order])).numpy()
    np.testing.assert_allclose(shuffled, layer(tf.constant(vectors)).numpy(), atol=1e-4)


def test_one_field_has_no_pairs() -> None:
    assert FactorizationMachine()(tf.constant([[[3.0, -1.0]]])).numpy().tolist() == [0.0]


def test_candidates_are_an_outer_axis() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    layer = FactorizationMachine()
    apart = np.stack([layer(tf.constant(vectors[:, m])).numpy() for m in range(5)], axis=1)
    np.testing.assert_allclose(layer(tf.constant(vectors)).numpy(), apart, rtol=1e-5)


def test_is_a_sound_layer(tmp_path: Path) -> None:
    inputs = tf.random.stateless_normal([3, 4, 2], [1, 2])
    check_layer(FactorizationMachine, inputs, tmp_path, trains=False)
