from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.ranking.deepfm import DeepFM
from tests.helpers.layer_check import check_layer
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch, with_random_weights
from transforms.features import ModelInput


def _model(inputs: tuple[ModelInput, ...] = ROW, **options: Any) -> DeepFM:
    return DeepFM(inputs, SIZES, embedding_dim=2, hidden_units=(4, 3), **options)


def test_logit_is_linear_terms_and_pairs_and_mlp() -> None:
    model = with_random_weights(_model(), row_batch(0))
    embeddings, linear = (part.numpy() for part in model.embeddings(row_batch(0)))
    pairs = sum((embeddings[:, i] * embeddings[:, j]).sum(-1) for i in range(4) for j in range(i))
    hidden, weights = embeddings.reshape(3, 8), [weight.numpy() for weight in model.mlp.weights]
    for kernel, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    deep = (hidden @ weights[4] + weights[5])[:, 0]
    np.testing.assert_allclose(model(row_batch(0)).numpy(), linear.sum(1) + pairs + deep, rtol=1e-4)


def test_bias_is_added_to_every_logit() -> None:
    model = with_random_weights(_model(), row_batch(0))
    before = model(row_batch(0)).numpy()
    model.mlp.weights[-1].assign_add([2.5])
    np.testing.assert_allclose(model(row_batch(0)).numpy(), before + 2.5, rtol=1e-5)


def test_scores_of_a_request_are_those_of_its_rows() -> None:
    rows, requests = (
        with_random_weights(_model(), row_batch(0)),
        with_random_weights(_model(REQUEST), request_batch()),
    )
    _align(rows, requests)
    logits = requests(request_batch()).numpy()
    assert logits.shape == (3, 2)
    for candidate in range(2):
        np.testing.assert_allclose(logits[:, candidate], rows(row_batch(candidate)).numpy(), rtol=1e-4)


def _align(rows: DeepFM, requests: DeepFM) -> None:
    """Orders the first kernel of `requests` as its own fields stand."""
    kernel = rows.mlp.weights[0].numpy().reshape(4, 2, 4)
    order = [rows.embeddings.field_names.index(name) for name in requests.embeddings.field_names]
    requests.mlp.weights[0].assign(kernel[order].reshape(8, 4))


@pytest.mark.parametrize(
    ("inputs", "batch", "options"),
    [(ROW, row_batch(0), {"dropout": 0.2}), (REQUEST, request_batch(), {"batch_norm": True, "embedding_l2": 1e-3})],
)
def test_is_a_sound_model(
    inputs: tuple[ModelInput, ...], batch: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    check_layer(lambda: _model(inputs, **options), batch, tmp_path)
