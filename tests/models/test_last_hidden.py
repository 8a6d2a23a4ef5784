"""The last hidden layer of each ranker is what its last linear layer reads: worked out apart, by its weights."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.mlp import MLP
from models.registry import build_model
from models.table_model import TableModel
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch

_DEEP = (4, 3)
_FIELDS = 4 * 2
"""Numbers of x_0: four fields of width 2."""
_RANKERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "deepfm": ("deepfm", {}, 3),
    "deepfm_normed": ("deepfm", {"batch_norm": True}, 3),
    "deepfm_flat": ("deepfm", {"hidden_units": ()}, _FIELDS),
    "dcn": ("dcn", {}, _FIELDS + 3),
    "dcn_stacked": ("dcn", {"structure": "stacked", "cross": "v2"}, 3),
    "dcn_both": ("dcn", {"structure": "stacked_parallel"}, 6),
    "dcn_crossnet": ("dcn", {"structure": "crossnet_only"}, _FIELDS),
    "pnn": ("pnn", {}, 3),
    "fibinet": ("fibinet", {"reduction_ratio": 1}, 3),
    "cold": ("cold", {}, 3),
    "target_attention_ranker": ("target_attention_ranker", {}, 3),
}


def _moved(variant: str, inputs: Any, batch: dict[str, Any]) -> Any:
    name, options, _ = _RANKERS[variant]
    model: Any = build_model(name, inputs, SIZES, **{"embedding_dim": 2, "hidden_units": _DEEP, **options})
    model(batch)
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(np.random.default_rng([index, *weight.shape]).normal(size=weight.shape))
    return model


def _hidden(model: TableModel, batch: dict[str, Any]) -> np.ndarray:
    found: np.ndarray = model.hidden(model.look_up(batch, training=False), training=False).numpy()
    return found


def _linear(model: Any) -> list[np.ndarray]:
    """Kernel and bias of the last layer."""
    part = next(getattr(model, name) for name in ("last", "output_layer", "mlp") if hasattr(model, name))
    return [weight.numpy() for weight in part.weights if weight.trainable][-2:]


def _shallow(model: Any, batch: dict[str, Any]) -> Any:
    """What the logit has besides the deep part."""
    if not model.uses_linear:
        return 0.0
    embeddings, linear = (part.numpy() for part in model.embeddings(batch))
    pairs = sum((embeddings[:, i] * embeddings[:, j]).sum(-1) for i in range(4) for j in range(i))
    return linear.sum(1) + (pairs if type(model).__name__ == "DeepFM" else 0.0)


@pytest.mark.parametrize("variant", _RANKERS)
def test_the_logit_is_linear_in_it(variant: str) -> None:
    model = _moved(variant, ROW, row_batch())
    hidden, (kernel, bias) = _hidden(model, row_batch()).reshape(3, -1), _linear(model)
    assert model.has_hidden and hidden.shape == (3, _RANKERS[variant][2]) and hidden.std() > 0.01
    expected = (hidden @ kernel + bias)[:, 0] + _shallow(model, row_batch())
    np.testing.assert_allclose(model(row_batch()).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_deepfms_is_its_mlp_by_hand() -> None:
    model = _moved("deepfm", ROW, row_batch())
    hidden = model.embeddings(row_batch())[0].numpy().reshape(3, _FIELDS)
    weights = [weight.numpy() for weight in model.mlp.weights]
    for kernel, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    np.testing.assert_allclose(_hidden(model, row_batch()), hidden, rtol=1e-5)


def test_dcns_is_the_crosses_beside_the_mlp_by_hand() -> None:
    model = _moved("dcn", ROW, row_batch())
    first = crossed = deep = model.embeddings(row_batch())[0].numpy().reshape(3, _FIELDS)
    for layer in model.cross_layers:
        kernel, bias = (weight.numpy().reshape(-1) for weight in layer.weights)
        crossed = first * (crossed @ kernel)[:, np.newaxis] + bias + crossed
    weights = [weight.numpy() for weight in model.mlp.weights]
    for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
        deep = np.maximum(deep @ kernel + bias, 0)
    np.testing.assert_allclose(_hidden(model, row_batch()), np.concatenate([crossed, deep], axis=1), rtol=1e-4)


@pytest.mark.parametrize("variant", ["deepfm", "target_attention_ranker"])
def test_a_request_has_one_a_candidate(variant: str) -> None:
    model = _moved(variant, REQUEST, request_batch())
    found = _hidden(model, request_batch())
    assert found.shape == (3, 2, 3)
    kernel, bias = _linear(model)
    logits = (found @ kernel + bias)[..., 0]
    if variant == "target_attention_ranker":
        np.testing.assert_allclose(model(request_batch()).numpy(), logits, rtol=1e-4, atol=1e-5)
    else:
        embeddings, linear = (part.numpy() for part in model.embeddings(request_batch()))
        pairs = sum((embeddings[..., i, :] * embeddings[..., j, :]).sum(-1) for i in range(4) for j in range(i))
        np.testing.assert_allclose(model(request_batch()).numpy(), logits + linear.sum(-1) + pairs, rtol=1e-4)


@pytest.mark.parametrize(("name", "inputs"), [("dssm", ROW), ("set_ranker", REQUEST), ("two_tower", REQUEST)])
def test_others_have_none(name: str, inputs: Any) -> None:
    model: Any = build_model(name, inputs, SIZES, embedding_dim=2, hidden_units=_DEEP)
    assert not model.has_hidden
    with pytest.raises(NotImplementedError, match=f"{type(model).__name__} has no last hidden layer"):
        model.hidden(None)


def test_asking_an_mlp_for_it_first_makes_no_weight_twice() -> None:
    layer, inputs = MLP([4, 2], output_units=1), tf.random.stateless_normal([6, 5], [1, 2])
    hidden = layer.hidden(inputs)
    outputs = layer(inputs)
    assert len(layer.weights) == 6
    kernel, bias = layer.weights[-2:]
    np.testing.assert_allclose(outputs.numpy(), (hidden @ kernel + bias).numpy(), rtol=1e-5)


def test_of_an_mlp_without_a_linear_layer_it_is_the_output() -> None:
    layer, inputs = MLP([4]), tf.random.stateless_normal([6, 5], [1, 2])
    np.testing.assert_array_equal(layer.hidden(inputs).numpy(), layer(inputs).numpy())
