from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.field_weights import SENET
from tests.helpers.layer_check import check_layer

_VECTORS = tf.random.stateless_uniform([4, 7, 3], [1, 2])


def test_senet_equations_by_hand() -> None:
    layer = SENET(reduction_ratio=3)
    vectors = tf.constant([[[1.0, 3.0], [2.0, 2.0], [0.0, -4.0]], [[-1.0, -3.0], [2.0, 2.0], [1.0, 1.0]]])
    layer(vectors)
    layer.set_weights([np.array([[1.0], [0.5], [1.0]]), np.array([[2.0, -1.0, 0.5]])])
    # First record: means (2, 2, -2); squeezed 2 + 1 - 2 = 1; excited (2, -1, 0.5), the negative one cut to 0.
    # Second: means (-2, 2, 1); squeezed -2 + 1 + 1 = 0; all weights 0, and no residual brings a vector back.
    expected = [[[2.0, 6.0], [0.0, 0.0], [0.0, -2.0]], [[0.0, 0.0]] * 3]
    np.testing.assert_array_equal(layer(vectors).numpy(), expected)


def test_squeezed_numbers_are_cut_at_zero() -> None:
    layer, vectors = SENET(reduction_ratio=2), tf.constant([[[1.0], [2.0]]])
    layer(vectors)
    # Squeezed -1, cut to 0: without the cut -1 times -3 would weigh the fields by 3.
    layer.set_weights([np.array([[1.0], [-1.0]]), np.array([[-3.0, -3.0]])])
    assert not layer(vectors).numpy().any()


def test_equals_plain_numpy() -> None:
    layer = SENET(seed=4)
    layer(_VECTORS)
    squeeze, excite = layer.get_weights()
    vectors = _VECTORS.numpy()
    weights = np.maximum(np.maximum(vectors.mean(-1) @ squeeze, 0) @ excite, 0)
    assert weights.any()
    np.testing.assert_allclose(layer(_VECTORS).numpy(), vectors * weights[..., None], rtol=1e-5)


@pytest.mark.parametrize(("ratio", "reduced"), [(3, 2), (1, 7), (7, 1), (100, 1)])
def test_middle_has_fields_over_ratio_numbers_but_at_least_one(ratio: int, reduced: int) -> None:
    layer = SENET(ratio)
    layer(_VECTORS)
    assert layer.count_params() == 2 * 7 * reduced


def test_candidates_are_an_outer_axis() -> None:
    layer, vectors = SENET(), tf.random.stateless_uniform([2, 3, 7, 4], [1, 2])
    np.testing.assert_allclose(layer(vectors)[:, 2].numpy(), layer(vectors[:, 2]).numpy(), rtol=1e-5)


def test_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: SENET(seed=4), _VECTORS, tmp_path)


@pytest.mark.parametrize("ratio", [0, -1, 1.5])
def test_a_ratio_below_one_is_refused(ratio: Any) -> None:
    with pytest.raises(ValueError, match="reduction_ratio is .* expected a whole number of at least 1"):
        SENET(ratio)
