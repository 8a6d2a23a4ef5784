"""Batch normalisation of requests is over their real candidates: padding changes no statistic and no weight."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.mutual_learning import MutualLearning
from models.layers.mlp import MLP
from models.registry import build_model
from models.training.compiling import precision
from models.training.losses import ClickLoss
from tests.helpers.generated_batches import drawn_weights
from transforms.features import CANDIDATE, ModelInput

_SIZES = {"users": 9, "items": 11}
_INPUTS = [
    ModelInput(name="user_id", vocabulary="users", shape="scalar", entity="user"),
    ModelInput(name="item_id", vocabulary="items", shape="candidates", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="candidates", entity="item"),
]
_REQUESTS, _CANDIDATES = 32, 6
_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "deepfm": ("deepfm", {}),
    "deepfm_compiled": ("deepfm", {"jit_compile": True}),
    "dcn": ("dcn", {}),
    "dcn_stacked_parallel": ("dcn", {"structure": "stacked_parallel"}),
    "pnn": ("pnn", {}),
    "fibinet": ("fibinet", {}),
    "cold": ("cold", {}),
    "two_tower": ("two_tower", {}),
}


def _model(name: str, **options: Any) -> Any:
    return build_model(name, _INPUTS, _SIZES, embedding_dim=4, hidden_units=(6, 5), batch_norm=True, seed=1, **options)


def _requests(width: int, real: int = _CANDIDATES) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Requests of up to `real` candidates, padded to `width` with prices that would shift every statistic."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, real + 1, _REQUESTS) if real else np.zeros(_REQUESTS, np.int64)
    mask = np.arange(width) < counts[:, None]

    def padded(values: np.ndarray, filler: float) -> np.ndarray:
        wide = np.pad(values, ((0, 0), (0, width - _CANDIDATES)))
        return np.where(mask, wide, filler).astype(values.dtype)

    shape = (_REQUESTS, _CANDIDATES)
    features = {
        "user_id": rng.integers(1, 9, _REQUESTS),
        "item_id": padded(rng.integers(1, 11, shape), 3),
        "price": padded(rng.normal(3, 1, shape).astype("f4"), 50),
        CANDIDATE: mask.astype(np.int64),
    }
    label = padded((rng.random(shape) < 0.3).astype("f4"), 0)
    return {key: tf.constant(value) for key, value in features.items()}, tf.constant(label), tf.cast(mask, tf.float32)


def _step(model: Any, width: int) -> tuple[Any, list[Any]]:
    """Logits of a training call, zeros for padding, and the gradients of the loss."""
    features, label, weight = _requests(width)
    with tf.GradientTape() as tape:
        logits = model(features, training=True)
        outputs = list(logits.values()) if isinstance(logits, dict) else [logits]
        loss = tf.add_n([ClickLoss()(label, output, weight) for output in outputs])
    gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, model.trainable_variables)]
    return [(output * weight)[:, :_CANDIDATES] for output in outputs], gradients


def _assert_padding_does_not_matter(build: Callable[[], Any]) -> None:
    few, many = (drawn_weights(build(), _requests(6)[0]) for _ in range(2))
    for one, other in zip(_flat(_step(few, 6)), _flat(_step(many, 60)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    moving = [[weight.numpy() for weight in model.weights if "moving" in weight.name] for model in (few, many)]
    assert len(moving[0]) >= 4
    for one, other in zip(*moving, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def _flat(parts: tuple[list[Any], list[Any]]) -> list[Any]:
    return [*parts[0], *parts[1]]


@pytest.mark.parametrize("case", _CASES)
def test_a_step_on_requests_padded_to_6_is_that_on_60(case: str) -> None:
    name, options = _CASES[case]
    _assert_padding_does_not_matter(lambda: _model(name, **options))


def test_a_step_of_peers_is_the_same_too() -> None:
    def group() -> Any:
        peers = MutualLearning([_model("deepfm"), _model("cold")])
        peers.build_variables()
        return peers

    _assert_padding_does_not_matter(group)


def test_statistics_are_those_of_the_real_rows() -> None:
    layer = MLP([3], batch_norm=True, activation="linear", seed=1)
    inputs = np.random.default_rng(1).normal(2, 3, (7, 4)).astype("f4")
    real = np.array([1, 1, 0, 1, 0, 0, 1], bool)
    layer(tf.constant(inputs))
    found = layer(tf.constant(inputs), training=True, real=tf.constant(real)).numpy()
    norm = layer._steps[1]
    hidden = inputs @ layer._steps[0].kernel.numpy()
    mean, variance = hidden[real].mean(axis=0), hidden[real].var(axis=0)
    np.testing.assert_allclose(found, (hidden - mean) / np.sqrt(variance + norm.epsilon), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_mean, 0.01 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, 0.99 + 0.01 * variance, rtol=1e-4)


def test_a_batch_without_any_candidate_leaves_finite_weights() -> None:
    model = _model("deepfm")
    features, _, _ = _requests(6, real=0)
    assert np.isfinite(model(features, training=True)).all()
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def test_padding_does_not_matter_in_bfloat16() -> None:
    logits = []
    for width in (6, 60):
        with precision("mixed_bfloat16"):
            model = drawn_weights(_model("deepfm"), _requests(6)[0])
            logits.append(_step(model, width)[0][0])
    np.testing.assert_allclose(logits[0], logits[1], rtol=0.05, atol=0.05)
