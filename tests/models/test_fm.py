from itertools import combinations
from pathlib import Path

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.layers.fm import FactorizationMachine
from tests.helpers.layer_check import check_layer, policy

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


def test_gradient_is_that_of_finite_differences() -> None:
    vectors = tf.random.stateless_normal([2, 4, 3], [1, 2], dtype=tf.float64)
    analytic, numeric = tf.test.compute_gradient(FactorizationMachine(dtype="float64"), [vectors])
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-7)


def test_gradient_of_a_vector_is_the_sum_of_the_others() -> None:
    vectors = tf.constant([[[1.0, 2.0], [3.0, 1.0], [0.0, 2.0]]])
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        doubled = 2 * FactorizationMachine()(vectors)
    assert tape.gradient(doubled, vectors).numpy().tolist() == [[[6.0, 6.0], [2.0, 8.0], [8.0, 6.0]]]


def test_bfloat16_vectors_are_summed_in_float32() -> None:
    # Two equal vectors of 256 ones: half of (4 * 256 - 512). bfloat16 cannot count past 256.
    with policy("mixed_bfloat16"):
        layer = FactorizationMachine()
    pairs = layer(tf.ones([1, 2, 256], tf.bfloat16))
    assert pairs.dtype == tf.float32
    assert pairs.numpy().tolist() == [256.0]


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
