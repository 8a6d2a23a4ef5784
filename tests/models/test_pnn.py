from itertools import combinations
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.ranking.pnn import PNN
from tests.helpers.model_batches import ROW, SIZES, row_batch, with_random_weights

_PAIRS = list(combinations(range(4), 2))


def _model(**options: Any) -> PNN:
    return with_random_weights(PNN(ROW, SIZES, embedding_dim=2, hidden_units=(4, 3), **options), row_batch())


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        ({}, "ni,ni->n"),
        ({"product": "outer"}, "ni,nj,ij->n"),
        ({"product": "outer", "outer_kernel": "vec"}, "ni,ni,i->n"),
        ({"product": "outer", "outer_kernel": "num"}, "ni,ni,->n"),
    ],
)
def test_logit_is_the_mlp_of_embeddings_and_products(options: dict[str, Any], formula: str) -> None:
    model = _model(**options)
    vectors = model.embeddings(row_batch())[0].numpy()
    kernels = model.products.get_weights()
    products = [
        np.einsum(formula, vectors[:, i], vectors[:, j], *[kernel[k] for kernel in kernels])
        for k, (i, j) in enumerate(_PAIRS)
    ]
    hidden = np.concatenate([vectors.reshape(3, 8), np.stack(products, axis=1)], axis=1)
    *weights, kernel, bias = model.mlp.get_weights()
    for inner, inner_bias in zip(weights[::2], weights[1::2], strict=True):
        hidden = np.maximum(hidden @ inner + inner_bias, 0)
    np.testing.assert_allclose(model(row_batch()).numpy(), (hidden @ kernel + bias)[:, 0], rtol=1e-4, atol=1e-4)


# The MLP takes F D + F (F - 1) / 2 = 8 + 6 numbers: 14 -> 4 -> 3 -> 1.
@pytest.mark.parametrize(
    ("options", "kernels"),
    [
        ({}, 0),
        ({"product": "outer"}, 6 * 4),
        ({"product": "outer", "outer_kernel": "vec"}, 6 * 2),
        ({"product": "outer", "outer_kernel": "num"}, 6),
    ],
)
def test_number_of_weights_of_the_head(options: dict[str, Any], kernels: int) -> None:
    model = PNN(ROW, SIZES, embedding_dim=2, hidden_units=(4, 3), **options)
    model.build_head()
    assert sum(int(tf.size(weight)) for weight in model.weights) == kernels + (14 * 4 + 4) + (4 * 3 + 3) + (3 + 1)


def test_inner_products_are_the_default() -> None:
    config = PNN(ROW, SIZES).get_config()
    assert (config["product"], config["outer_kernel"], config["hidden_units"]) == ("inner", "mat", [400, 200, 100])
