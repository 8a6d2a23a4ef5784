from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers.field_pairs import InnerProduct
from tests.helpers.layer_check import check_layer

_VECTORS = tf.random.stateless_normal([3, 5, 4], [1, 2])


def test_inner_product_equation_by_hand() -> None:
    # <a,b> = 1*3 + 2*1 = 5, <a,c> = 1*0 + 2*2 = 4, <b,c> = 3*0 + 1*2 = 2
    vectors = tf.constant([[[1.0, 2.0], [3.0, 1.0], [0.0, 2.0]]])
    assert InnerProduct()(vectors).numpy().tolist() == [[5.0, 4.0, 2.0]]


def test_products_are_those_of_all_pairs_in_order() -> None:
    vectors = _VECTORS.numpy()
    expected = np.stack([(vectors[:, i] * vectors[:, j]).sum(-1) for i, j in combinations(range(5), 2)], axis=1)
    np.testing.assert_allclose(InnerProduct()(_VECTORS).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_orthogonal_vectors_give_zeros_although_none_is_zero() -> None:
    # A diagonal instead of the pairs would give the squares, 1.
    assert InnerProduct()(tf.eye(4)[tf.newaxis]).numpy().tolist() == [[0.0] * 6]


def test_each_product_moves_its_two_fields_only() -> None:
    vectors = tf.Variable(_VECTORS)
    with tf.GradientTape() as tape:
        product = InnerProduct()(vectors)[:, 5]  # pairs 01 02 03 04 12 13
    gradient = tape.gradient(product, vectors).numpy()
    np.testing.assert_allclose(gradient[:, 1], _VECTORS.numpy()[:, 3], rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 3], _VECTORS.numpy()[:, 1], rtol=1e-6)
    assert not gradient[:, [0, 2, 4]].any()


def test_candidates_are_an_outer_axis() -> None:
    vectors = tf.random.stateless_normal([2, 3, 5, 4], [1, 2])
    together = InnerProduct()(vectors).numpy()
    assert together.shape == (2, 3, 10)
    np.testing.assert_allclose(together[:, 1], InnerProduct()(vectors[:, 1]).numpy(), rtol=1e-5)


def test_one_field_is_refused() -> None:
    with pytest.raises(ValueError, match="F at least 2"):
        InnerProduct()(tf.ones([3, 1, 4]))


def test_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(InnerProduct, _VECTORS, tmp_path, trains=False)
