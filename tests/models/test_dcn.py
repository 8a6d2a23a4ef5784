from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.ranking.dcn import DCN
from tests.helpers.model_batches import ROW, SIZES, row_batch, with_random_weights

_STRUCTURES = ("parallel", "stacked", "stacked_parallel", "crossnet_only")


def _model(**options: Any) -> DCN:
    return with_random_weights(DCN(ROW, SIZES, embedding_dim=2, hidden_units=(4, 3), **options), row_batch())


def _mlp(layer: Any, inputs: np.ndarray) -> np.ndarray:
    weights = layer.get_weights()
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        inputs = np.maximum(inputs @ kernel + bias, 0)
    return inputs


def _crossed(model: DCN, first: np.ndarray) -> np.ndarray:
    crossed = first
    for layer in model.cross_layers:
        weights = layer.get_weights()
        if model.options.cross == "v1":
            crossed = first * (crossed @ weights[0]) + weights[1] + crossed
        elif model.options.cross == "v2":
            crossed = first * (crossed @ weights[0] + weights[1]) + crossed
        else:
            inward, within, outward, gate, bias = weights
            gates = np.exp(crossed @ gate)
            rank, sums = model.options.cross_rank, np.zeros_like(first)
            for i in range(model.options.num_experts):
                part = slice(rank * i, rank * (i + 1))
                low = np.tanh(np.tanh(crossed @ inward[:, part]) @ within[i])
                sums += (gates[:, i] / gates.sum(1))[:, None] * first * (low @ outward[part] + bias)
            crossed = crossed + sums
    return crossed


@pytest.mark.parametrize("cross", ["v1", "v2", "mixture"])
@pytest.mark.parametrize("structure", _STRUCTURES)
def test_logit_is_the_formula_of_the_structure(cross: str, structure: str) -> None:
    model = _model(cross=cross, structure=structure, num_cross_layers=2, cross_rank=3, num_experts=2)
    first = model.embeddings(row_batch())[0].numpy().reshape(3, 8)
    crossed = _crossed(model, first)
    last = {
        "parallel": lambda: [crossed, _mlp(model.mlp, first)],
        "stacked": lambda: [_mlp(model.stacked_mlp, crossed)],
        "stacked_parallel": lambda: [_mlp(model.stacked_mlp, crossed), _mlp(model.mlp, first)],
        "crossnet_only": lambda: [crossed],
    }[structure]()
    kernel, bias = model.output_layer.get_weights()
    expected = (np.concatenate(last, axis=1) @ kernel + bias)[:, 0]
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-3, atol=1e-3)


# W = F D = 4 * 2 = 8; the MLP 8 -> 4 -> 3 has 36 + 15 weights.
@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 3 * (8 + 8) + 51 + (8 + 3 + 1)),
        ({"cross": "v2"}, 3 * (64 + 8) + 51 + (8 + 3 + 1)),
        (
            {"cross": "mixture", "cross_rank": 3, "num_experts": 2},
            3 * (2 * 8 * 6 + 2 * 9 + 8 * 2 + 8) + 51 + (8 + 3 + 1),
        ),
        ({"structure": "stacked"}, 3 * 16 + 51 + (3 + 1)),
        ({"structure": "stacked_parallel"}, 3 * 16 + 2 * 51 + (3 + 3 + 1)),
        ({"structure": "crossnet_only"}, 3 * 16 + (8 + 1)),
        ({"num_cross_layers": 1}, 16 + 51 + (8 + 3 + 1)),
    ],
)
def test_number_of_weights_of_the_head(options: dict[str, Any], count: int) -> None:
    model = DCN(ROW, SIZES, embedding_dim=2, hidden_units=(4, 3), **options)
    model.build_head()
    assert sum(int(tf.size(weight)) for weight in model.weights) == count


def test_three_layers_of_the_first_version_are_the_default() -> None:
    config = DCN(ROW, SIZES).get_config()
    assert config["cross"] == "v1"
    assert config["structure"] == "parallel"
    assert config["num_cross_layers"] == 3
    assert config["hidden_units"] == [400, 200, 100]


def test_mixtures_have_rank_32_and_4_experts_by_default() -> None:
    config = DCN(ROW, SIZES, cross="mixture").cross_layers[0].get_config()
    assert (config["rank"], config["num_experts"]) == (32, 4)
