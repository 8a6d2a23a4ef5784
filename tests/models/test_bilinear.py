from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers.field_pairs import BilinearInteraction, bilinear_products
from tests.helpers.layer_check import check_layer

_TYPES = ("field_all", "field_each", "field_interaction")
_VECTORS = tf.random.stateless_normal([3, 5, 4], [1, 2])
_PAIRS = list(combinations(range(5), 2))
# Which matrix a pair takes.
_OWNER = {
    "field_all": [0] * 10,
    "field_each": [0, 0, 0, 0, 1, 1, 1, 2, 2, 3],
    "field_interaction": list(range(10)),
}


def test_bilinear_equation_by_hand() -> None:
    layer, vectors = BilinearInteraction(), tf.constant([[[1.0, 2.0], [3.0, 1.0]]])
    layer(vectors)
    layer.set_weights([np.array([[[1.0, 0.0], [2.0, -1.0]]])])
    # e_1 W = (1 + 4, 0 - 2) = (5, -2); times e_2 elementwise: (15, -2)
    assert layer(vectors).numpy().tolist() == [[15.0, -2.0]]


@pytest.mark.parametrize("bilinear_type", _TYPES)
def test_products_are_those_of_all_pairs_in_order(bilinear_type: str) -> None:
    layer = BilinearInteraction(bilinear_type, seed=3)
    layer(_VECTORS)
    vectors, matrices = _VECTORS.numpy(), layer.get_weights()[0]
    expected = [
        (vectors[:, i] @ matrices[owner]) * vectors[:, j]
        for owner, (i, j) in zip(_OWNER[bilinear_type], _PAIRS, strict=True)
    ]
    np.testing.assert_allclose(layer(_VECTORS).numpy(), np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("bilinear_type", "count"),
    # F = 5, D = 4: D^2, (F - 1) D^2, F (F - 1) / 2 D^2
    [("field_all", 16), ("field_each", 4 * 16), ("field_interaction", 10 * 16)],
)
def test_number_of_weights(bilinear_type: str, count: int) -> None:
    layer = BilinearInteraction(bilinear_type)
    layer(_VECTORS)
    assert layer.count_params() == count


@pytest.mark.parametrize("fields", [2, 3, 5])
def test_gradients_are_those_of_finite_differences(fields: int) -> None:
    vectors = tf.random.stateless_normal([2, fields, 3], [1, fields], dtype=tf.float64)
    kernels = tf.random.stateless_normal([fields * (fields - 1) // 2, 3, 3], [2, fields], dtype=tf.float64)
    analytic, numeric = tf.test.compute_gradient(bilinear_products, [vectors, kernels])
    for one, other in zip(analytic, numeric, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_identity_matrices_give_the_elementwise_products() -> None:
    layer = BilinearInteraction("field_all")
    layer(_VECTORS)
    layer.set_weights([np.eye(4)[None]])
    vectors = _VECTORS.numpy()
    expected = np.concatenate([vectors[:, i] * vectors[:, j] for i, j in _PAIRS], axis=1)
    np.testing.assert_allclose(layer(_VECTORS).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("bilinear_type", _TYPES)
def test_candidates_are_an_outer_axis(bilinear_type: str) -> None:
    layer, vectors = BilinearInteraction(bilinear_type), tf.random.stateless_normal([2, 3, 5, 4], [1, 2])
    together = layer(vectors).numpy()
    assert together.shape == (2, 3, 40)
    np.testing.assert_allclose(together[:, 1], layer(vectors[:, 1]).numpy(), rtol=1e-4, atol=1e-5)


def test_each_matrix_starts_with_the_variance_of_its_own_size() -> None:
    layer = BilinearInteraction()
    layer(tf.zeros([1, 12, 16]))
    matrices = layer.get_weights()[0]
    np.testing.assert_allclose(matrices.std(), (2 / (16 + 16)) ** 0.5, rtol=0.02)
    assert len(np.unique(matrices[:, 0, 0])) == 66


@pytest.mark.parametrize("bilinear_type", _TYPES)
def test_is_a_sound_layer(bilinear_type: str, tmp_path: Path) -> None:
    check_layer(lambda: BilinearInteraction(bilinear_type, seed=2), _VECTORS, tmp_path)


def test_an_unknown_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="bilinear_type is 'field_al'; expected one of .* mean 'field_all'"):
        BilinearInteraction("field_al")
    with pytest.raises(ValueError, match="bilinear_type is 'x'; expected one of field_all, .* choose one of these"):
        BilinearInteraction("x")


def test_one_field_is_refused() -> None:
    with pytest.raises(ValueError, match="F at least 2"):
        BilinearInteraction()(tf.ones([3, 1, 4]))
