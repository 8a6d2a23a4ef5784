from itertools import combinations
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.ranking.fibinet import FiBiNET
from tests.helpers.model_batches import ROW, SIZES, row_batch

_OWNER = {"field_all": [0] * 6, "field_each": [0, 0, 0, 1, 1, 2], "field_interaction": list(range(6))}
_PAIRS = list(combinations(range(4), 2))


def _model(**options: Any) -> FiBiNET:
    model = FiBiNET(ROW, SIZES, embedding_dim=2, hidden_units=(4, 3), reduction_ratio=2, **options)
    model(row_batch())
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(np.random.default_rng(index).normal(size=weight.shape))
    # One of the two squeezed numbers is positive whatever the means; so SENET cuts not everything to 0.
    excite = np.abs(model.senet.get_weights()[1])
    model.senet.set_weights([np.outer([1.0, 2.0, 0.5, 3.0], [1.0, -1.0]), excite])
    return model


def _pairs(vectors: np.ndarray, matrices: np.ndarray, owner: list[int]) -> np.ndarray:
    products = [(vectors[:, i] @ matrices[k]) * vectors[:, j] for k, (i, j) in zip(owner, _PAIRS, strict=True)]
    return np.concatenate(products, axis=1)


@pytest.mark.parametrize("bilinear_type", _OWNER)
def test_logit_is_linear_terms_and_the_mlp_of_both_branches(bilinear_type: str) -> None:
    model = _model(bilinear_type=bilinear_type)
    vectors, linear = (part.numpy() for part in model.embeddings(row_batch()))
    squeeze, excite = model.senet.get_weights()
    weights = np.maximum(np.maximum(vectors.mean(-1) @ squeeze, 0) @ excite, 0)
    assert weights.any()
    (plain,), (weighed,) = model.plain_pairs.get_weights(), model.weighed_pairs.get_weights()
    owner = _OWNER[bilinear_type]
    branches = [_pairs(vectors, plain, owner), _pairs(vectors * weights[..., None], weighed, owner)]
    hidden = np.concatenate(branches, axis=1)
    *inner, kernel, bias = model.mlp.get_weights()
    for matrix, inner_bias in zip(inner[::2], inner[1::2], strict=True):
        hidden = np.maximum(hidden @ matrix + inner_bias, 0)
    expected = linear.sum(1) + (hidden @ kernel + bias)[:, 0]
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_branches_have_matrices_of_their_own() -> None:
    model = _model()
    before = model(row_batch()).numpy()
    (plain,) = model.plain_pairs.get_weights()
    model.plain_pairs.set_weights([2 * plain])
    assert (model(row_batch()).numpy() != before).any()
    assert model.plain_pairs.kernel is not model.weighed_pairs.kernel


# The MLP takes F (F - 1) D = 24 numbers: 24 -> 4 -> 3 -> 1. SENET of 4 fields squeezes to 1.
@pytest.mark.parametrize(("bilinear_type", "matrices"), [("field_all", 1), ("field_each", 3), ("field_interaction", 6)])
def test_number_of_weights_of_the_head(bilinear_type: str, matrices: int) -> None:
    model = FiBiNET(ROW, SIZES, embedding_dim=2, hidden_units=(4, 3), bilinear_type=bilinear_type)
    model.build_head()
    mlp = (24 * 4 + 4) + (4 * 3 + 3) + (3 + 1)
    assert sum(int(tf.size(weight)) for weight in model.weights) == 2 * matrices * 2 * 2 + (4 + 4) + mlp


def test_interactions_of_fields_and_a_ratio_of_3_are_the_default() -> None:
    config = FiBiNET(ROW, SIZES).get_config()
    assert (config["bilinear_type"], config["reduction_ratio"]) == ("field_interaction", 3)
    assert config["hidden_units"] == [400, 200, 100]
