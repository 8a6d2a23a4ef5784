"""The transformer's block: its equations in plain NumPy, and that padding has no part in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.transformer_block import TransformerBlock
from tests.helpers.backbones import moved
from tests.helpers.layer_check import check_layer

_MASK = tf.constant([[True] * 4, [True, False, True, False], [False] * 4])
_INPUTS = {"elements": tf.random.stateless_normal([3, 4, 6], [1, 2]), "mask": _MASK}


class _OnOneDict(TransformerBlock):
    """Takes its inputs as one dict, as the check of layers gives them; what stands in padding is left out."""

    def call(self, inputs: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:  # type: ignore[override]
        found = super().call(inputs["elements"], inputs["mask"], training=training)
        return tf.where(inputs["mask"][..., tf.newaxis], found, tf.zeros_like(found))

    def build(self, input_shape: Any) -> None:
        super().build(input_shape["elements"])


def _block(**options: Any) -> _OnOneDict:
    return moved(_OnOneDict(**{"heads": 2, "seed": 3, **options}), _INPUTS)


def _normal(values: np.ndarray, layer: Any) -> np.ndarray:
    deviation = np.sqrt(values.var(axis=-1, keepdims=True) + 1e-3)
    scaled = (values - values.mean(axis=-1, keepdims=True)) / deviation
    return scaled * layer.gamma.numpy() + layer.beta.numpy()


def test_the_equations_by_hand() -> None:
    block = _block(inner_units=5)
    w_query, w_key, w_value = (weight.numpy() for weight in block.attention.weights)
    expected = np.zeros((3, 4, 6))
    for b in range(3):
        real = np.flatnonzero(_MASK[b].numpy())
        x = _INPUTS["elements"].numpy()[b, real]
        if not len(real):
            continue
        heads = []
        for columns in (slice(0, 3), slice(3, 6)):
            scores = (x @ w_query[:, columns]) @ (x @ w_key[:, columns]).T / np.sqrt(3)
            weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            heads.append(weights @ (x @ w_value[:, columns]))
        joined = np.concatenate(heads, axis=1) @ block.joined.kernel.numpy() + block.joined.bias.numpy()
        y = _normal(x + joined, block.norms[0])
        inner = np.maximum(y @ block.first.kernel.numpy() + block.first.bias.numpy(), 0)
        last = inner @ block.last.kernel.numpy() + block.last.bias.numpy()
        expected[b, real] = _normal(y + last, block.norms[1])
    np.testing.assert_allclose(block(_INPUTS).numpy(), expected, rtol=1e-3, atol=1e-5)


def test_padding_has_no_part() -> None:
    block = _block()
    noise = tf.where(_MASK[..., tf.newaxis], 0.0, 50.0)
    found = block({**_INPUTS, "elements": _INPUTS["elements"] + noise}).numpy()
    np.testing.assert_array_equal(found, block(_INPUTS).numpy())
    longer = {
        "elements": tf.pad(_INPUTS["elements"], [[0, 0], [0, 3], [0, 0]]),
        "mask": tf.pad(_MASK, [[0, 0], [0, 3]]),
    }
    np.testing.assert_allclose(block(longer).numpy()[:, :4], block(_INPUTS).numpy(), rtol=1e-5, atol=1e-6)


def test_the_order_of_elements_only_orders_what_comes_out() -> None:
    block, order = _block(), [2, 0, 3, 1]
    other = {name: tf.gather(value, order, axis=1) for name, value in _INPUTS.items()}
    np.testing.assert_allclose(block(other).numpy(), block(_INPUTS).numpy()[:, order], rtol=1e-4, atol=1e-6)


def test_no_elements_give_none_and_finite_gradients() -> None:
    block = _block()
    with tf.GradientTape() as tape:
        found = block({"elements": tf.zeros([3, 0, 6]), "mask": tf.zeros([3, 0], tf.bool)}, training=True)
        loss = tf.reduce_sum(found)
    assert found.shape == (3, 0, 6)
    for gradient in tape.gradient(loss, block.trainable_weights, unconnected_gradients="zero"):
        assert not gradient.numpy().any()


def test_dropout_falls_in_training_alone_and_goes_on_from_where_it_was() -> None:
    first, second = _block(dropout=0.5), _block(dropout=0.5)
    np.testing.assert_array_equal(first(_INPUTS).numpy(), _block()(_INPUTS).numpy())
    drawn = [first(_INPUTS, training=True).numpy() for _ in range(2)]
    assert (drawn[0] != drawn[1]).any() and (drawn[0] != first(_INPUTS).numpy()).any()
    np.testing.assert_array_equal(second(_INPUTS, training=True).numpy(), drawn[0])


def test_no_two_kernels_start_alike() -> None:
    block = _OnOneDict(heads=2, inner_units=6, seed=3)
    block(_INPUTS)
    kernels = [weight.numpy() for weight in block.weights if weight.shape == (6, 6)]
    assert len(kernels) == 6
    for place, kernel in enumerate(kernels):
        assert all((kernel != other).any() for other in kernels[:place])


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2, "inner_units": 5}])
def test_is_a_sound_layer(options: dict[str, Any], tmp_path: Path) -> None:
    check_layer(lambda: _OnOneDict(heads=3, seed=3, **options), _INPUTS, tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"heads": 4}, "width is 6, heads 4; expected a multiple of heads"),
        ({"heads": 0}, "heads is 0"),
        ({"inner_units": 0}, "inner_units is 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _OnOneDict(**options)(_INPUTS)
