from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers.field_pairs import OuterProduct
from tests.helpers.layer_check import check_layer

_VECTORS = tf.random.stateless_normal([3, 4, 5], [1, 2])
_PAIRS = list(combinations(range(4), 2))


@pytest.mark.parametrize(
    ("kernel", "weights", "product"),
    [
        ("mat", [[[1.0, 0.0], [2.0, -1.0]]], 13.0),  # K b = (3, 5); (1, 2) (3, 5) = 13
        ("vec", [[2.0, -1.0]], 4.0),  # 2*1*3 - 1*2*1
        ("num", [0.5], 2.5),  # (1*3 + 2*1) / 2
    ],
)
def test_outer_product_equations_by_hand(kernel: str, weights: list, product: float) -> None:
    layer, vectors = OuterProduct(kernel), tf.constant([[[1.0, 2.0], [3.0, 1.0]]])
    layer(vectors)
    layer.set_weights([np.array(weights)])
    assert layer(vectors).numpy().tolist() == [[product]]


@pytest.mark.parametrize(("kernel", "formula"), [("mat", "ni,ij,nj->n"), ("vec", "ni,i,ni->n"), ("num", "ni,,ni->n")])
def test_products_are_those_of_all_pairs_in_order(kernel: str, formula: str) -> None:
    layer = OuterProduct(kernel, seed=3)
    layer(_VECTORS)
    vectors, weights = _VECTORS.numpy(), layer.get_weights()[0]
    expected = [
        np.einsum(formula, vectors[:, i], weight, vectors[:, j]) for weight, (i, j) in zip(weights, _PAIRS, strict=True)
    ]
    np.testing.assert_allclose(layer(_VECTORS).numpy(), np.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "count"), [("mat", 6 * 25), ("vec", 6 * 5), ("num", 6)])
def test_number_of_weights(kernel: str, count: int) -> None:
    layer = OuterProduct(kernel)
    layer(_VECTORS)
    assert layer.count_params() == count


@pytest.mark.parametrize("kernel", ["mat", "vec", "num"])
def test_gradients_are_those_of_finite_differences(kernel: str) -> None:
    vectors = tf.cast(_VECTORS, tf.float64)
    layer = OuterProduct(kernel, dtype="float64")
    layer(vectors)

    def outputs(vectors: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        layer.kernels = weights
        return layer(vectors)

    analytic, numeric = tf.test.compute_gradient(outputs, [vectors, layer.get_weights()[0]])
    for one, other in zip(analytic, numeric, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("kernel", ["mat", "vec", "num"])
def test_candidates_are_an_outer_axis(kernel: str) -> None:
    layer, vectors = OuterProduct(kernel), tf.random.stateless_normal([2, 3, 4, 5], [1, 2])
    together = layer(vectors).numpy()
    assert together.shape == (2, 3, 6)
    np.testing.assert_allclose(together[:, 1], layer(vectors[:, 1]).numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kernel", ["mat", "vec", "num"])
def test_is_a_sound_layer(kernel: str, tmp_path: Path) -> None:
    check_layer(lambda: OuterProduct(kernel, seed=2), _VECTORS, tmp_path)


def test_an_unknown_kernel_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="kernel is 'matt'; expected one of mat, vec, num; did you mean 'mat'"):
        OuterProduct("matt")


def test_one_field_is_refused() -> None:
    with pytest.raises(ValueError, match="F at least 2"):
        OuterProduct()(tf.ones([3, 1, 4]))
