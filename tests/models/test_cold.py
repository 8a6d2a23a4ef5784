from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.field_weights import FieldGates
from models.preranking.cold import Cold
from models.registry import build_model
from tests.helpers.layer_check import check_layer
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch
from transforms.features import ModelInput

_VECTORS = tf.random.stateless_normal([3, 2, 4, 5], [1, 2])


def _model(inputs: tuple[ModelInput, ...] = ROW, **options: Any) -> Cold:
    return Cold(inputs, SIZES, **{"embedding_dim": 2, "hidden_units": (4, 3), **options})


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_gates_by_hand() -> None:
    layer, vectors = FieldGates(), tf.constant([[[1.0, 2.0], [3.0, -1.0]]])
    layer(vectors)
    layer.set_weights([np.array([[1.0, 0.0], [1.0, 3.0]]), np.array([0.0, np.log(3.0)])])
    # sigmoid(1), and sigmoid(0 + ln 3) = 3/4.
    first = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(layer(vectors)[0], [[first, 2 * first], [2.25, -0.75]], rtol=1e-6)


def test_gates_of_candidates_are_those_of_each_alone() -> None:
    layer = FieldGates(seed=2)
    np.testing.assert_allclose(layer(_VECTORS)[:, 1], layer(_VECTORS[:, 1]), rtol=1e-6)


def test_gates_are_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: FieldGates(seed=2), _VECTORS, tmp_path)


def test_logits_equal_plain_numpy() -> None:
    model = _model()
    model(row_batch())
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(np.random.default_rng(index).normal(size=weight.shape))
    embeddings, linear = (part.numpy() for part in model.look_up(row_batch()))
    weights, bias = model.gates.get_weights()
    gates = _sigmoid((embeddings * weights).sum(-1) + bias)
    hidden = (embeddings * gates[..., None]).reshape(3, -1)
    kernels = model.mlp.get_weights()
    for kernel, own in zip(kernels[:-2:2], kernels[1:-2:2]):
        hidden = np.maximum(hidden @ kernel + own, 0)
    expected = linear.sum(1) + (hidden @ kernels[-2] + kernels[-1])[:, 0]
    np.testing.assert_allclose(model(row_batch()), expected, rtol=1e-4, atol=1e-5)


def test_scores_of_a_request_are_those_of_its_candidates_one_by_one() -> None:
    model = _model(REQUEST)
    logits = model(request_batch())
    embeddings, linear = model.look_up(request_batch())
    for candidate in range(2):
        alone = model.interact((embeddings[:, candidate], linear[:, candidate]))
        np.testing.assert_allclose(logits[:, candidate], alone, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("inputs", "batch"), [(ROW, row_batch()), (REQUEST, request_batch())])
def test_is_a_sound_model(inputs: tuple[ModelInput, ...], batch: dict[str, Any], tmp_path: Path) -> None:
    check_layer(lambda: _model(inputs, hidden_units=(16, 8), dropout=0.2, embedding_l2=1e-3), batch, tmp_path)


def test_config_gives_the_arguments_back_and_the_registry_knows_it() -> None:
    options: dict[str, Any] = {"dropout": 0.3, "batch_norm": True, "embedding_l2": 0.5, "seed": 9}
    config = build_model("cold", ROW, SIZES, **options).get_config()
    assert {key: config[key] for key in options} == options
    assert config["hidden_units"] == [300, 300, 128]
    assert Cold.from_config(config).get_config() == config


def test_has_one_output() -> None:
    with pytest.raises(NotImplementedError, match="Cold has one output"):
        _model().with_output(0)
    assert _model().outputs == 1
