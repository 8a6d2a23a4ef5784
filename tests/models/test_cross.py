from collections.abc import Callable
from math import tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.cross import CrossLayer, CrossLayerV2, CrossMixture
from tests.helpers.layer_check import check_layer

_FIRST = tf.random.stateless_normal([4, 6], [1, 2])
_CURRENT = tf.random.stateless_normal([4, 6], [3, 4])
_LAYERS: dict[str, Callable[[], Any]] = {
    "v1": CrossLayer,
    "v2": CrossLayerV2,
    "mixture": lambda: CrossMixture(rank=2, num_experts=3),
}


def _random(layer, inputs=(_FIRST, _CURRENT)):
    layer(inputs)
    for index, weight in enumerate(layer.weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [5, index]))
    return layer


def test_cross_v1_equation_by_hand() -> None:
    layer = CrossLayer()
    first, current = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, -1.0]])
    layer((first, current))
    layer.set_weights([np.array([[0.5], [2.0]]), np.array([0.25, -0.5])])
    # x_l^T w = 1.5 - 2 = -0.5; times x_0: (-0.5, -1); plus b: (-0.25, -1.5); plus x_l: (2.75, -2.5)
    assert layer((first, current)).numpy().tolist() == [[2.75, -2.5]]


def test_cross_v2_equation_by_hand() -> None:
    layer = CrossLayerV2()
    first, current = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, -1.0]])
    layer((first, current))
    matrix = np.array([[1.0, 2.0], [0.0, -1.0]])  # W of the formula, which multiplies columns
    layer.set_weights([matrix.T, np.array([0.5, -2.0])])
    # W x_l = (1, 1); plus b: (1.5, -1); times x_0: (1.5, -2); plus x_l: (4.5, -3)
    assert layer((first, current)).numpy().tolist() == [[4.5, -3.0]]


def test_cross_mixture_equation_by_hand() -> None:
    layer = CrossMixture(rank=1, num_experts=2)
    first, current = tf.constant([[1.0, 2.0]]), tf.constant([[1.0, -1.0]])
    layer((first, current))
    inward = np.array([[1.0, 0.0], [0.0, 2.0]])  # V_1 = (1, 0), V_2 = (0, 2)
    within = np.array([[[2.0]], [[-1.0]]])  # C_1 = 2, C_2 = -1
    outward = np.array([[1.0, 3.0], [-2.0, 0.5]])  # U_1 = (1, 3), U_2 = (-2, 0.5)
    gate = np.array([[np.log(3), 0.0], [0.0, 0.0]])  # scores ln 3 and 0: gates 3/4 and 1/4
    layer.set_weights([inward, within, outward, gate, np.array([0.5, -1.0])])
    one, two = tanh(2 * tanh(1)), tanh(-tanh(-2))
    u = [0.75 * one - 0.5 * two + 0.5, 2.25 * one + 0.125 * two - 1]
    np.testing.assert_allclose(layer((first, current)).numpy(), [[1 + u[0], -1 + 2 * u[1]]], rtol=1e-5)


def test_cross_mixture_equals_its_experts_one_by_one() -> None:
    layer = _random(CrossMixture(rank=2, num_experts=3))
    inward, within, outward, gate, bias = (weight.numpy() for weight in layer.weights)
    first, current = _FIRST.numpy(), _CURRENT.numpy()
    scores = np.exp(current @ gate)
    expected = current.copy()
    for i in range(3):
        part = slice(2 * i, 2 * i + 2)
        low = np.tanh(np.tanh(current @ inward[:, part]) @ within[i])
        expected += (scores[:, i] / scores.sum(1))[:, None] * first * (low @ outward[part] + bias)
    np.testing.assert_allclose(layer((_FIRST, _CURRENT)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_v1_is_v2_with_a_matrix_of_equal_rows() -> None:
    one, full = _random(CrossLayer()), CrossLayerV2()
    full((_FIRST, _CURRENT))
    kernel, bias = one.get_weights()
    full.set_weights([np.repeat(kernel, 6, axis=1), 0 * bias])
    expected = full((_FIRST, _CURRENT)).numpy() + bias  # v1 adds its bias outside of the product
    np.testing.assert_allclose(one((_FIRST, _CURRENT)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_second_layer_makes_cubes() -> None:
    # With x_0 = x_l = (t,) and w = 1: t^2 + t, then t (t^2 + t) + t^2 + t = t^3 + 2 t^2 + t
    layers, first = [CrossLayer(), CrossLayer()], tf.constant([[3.0]])
    crossed = first
    for layer in layers:
        layer((first, crossed))
        layer.set_weights([np.ones([1, 1]), np.zeros([1])])
        crossed = layer((first, crossed))
    assert crossed.numpy().tolist() == [[27 + 18 + 3]]


@pytest.mark.parametrize(
    ("name", "count"),
    # W = 6: w and b; W^2 and b; V and U, 3 experts of rank 2, their C, the gates, b
    [("v1", 6 + 6), ("v2", 36 + 6), ("mixture", 2 * 6 * 3 * 2 + 3 * 4 + 6 * 3 + 6)],
)
def test_number_of_weights(name: str, count: int) -> None:
    layer = _LAYERS[name]()
    layer((_FIRST, _CURRENT))
    assert layer.count_params() == count


@pytest.mark.parametrize("name", _LAYERS)
def test_candidates_are_an_outer_axis(name: str) -> None:
    layer = _random(_LAYERS[name]())
    first, current = (tf.random.stateless_normal([2, 3, 6], [seed, 0]) for seed in (1, 2))
    together = layer((first, current)).numpy()
    for m in range(3):
        np.testing.assert_allclose(together[:, m], layer((first[:, m], current[:, m])).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", _LAYERS)
def test_is_a_sound_layer(name: str, tmp_path: Path) -> None:
    check_layer(_LAYERS[name], (_FIRST, _CURRENT), tmp_path)


@pytest.mark.parametrize("argument", ["rank", "num_experts"])
@pytest.mark.parametrize("value", [0, 2.5, True])
def test_counts_below_one_are_refused(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument} is {value!r}; expected a whole number of at least 1"):
        CrossMixture(**{argument: value})
