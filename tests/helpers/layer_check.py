"""What must hold for every layer and model, proved in one call."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras


def check_layer(
    make: Callable[[], keras.layers.Layer], inputs: Any, folder: Path, trains: bool = True, compiles: bool = True
) -> None:
    """Builds, runs, serialises, saves and trains what `make` gives.

    Args:
      make: gives a new layer or model, always with the same seed.
      inputs: what it is called on: a tensor, or a dict of tensors and ragged tensors; at least two records.
      folder: an empty one, to save weights in.
      trains: False for layers without weights.
      compiles: False for what XLA cannot take, such as lists that become dense.
    """
    layer = make()
    outputs = layer(inputs, training=False)
    _check_outputs(layer, outputs)
    _check_unknown_batch_size(layer, inputs, outputs)
    _check_config(layer, inputs)
    _check_repeatable(make, inputs, outputs)
    _check_saving(make, layer, inputs, outputs, folder)
    _check_mixed_precision(make, inputs)
    if compiles:
        _check_xla(make, inputs)
    if trains:
        _check_training_step(make, inputs)


def _check_outputs(layer: keras.layers.Layer, outputs: Any) -> None:
    for output in tf.nest.flatten(outputs):
        assert output.dtype == layer.compute_dtype
        assert np.isfinite(output.numpy()).all()


def _check_unknown_batch_size(layer: keras.layers.Layer, inputs: Any, outputs: Any) -> None:
    specs = tf.nest.map_structure(_any_batch, inputs)
    run = tf.function(lambda batch: layer(batch, training=False), input_signature=[specs], autograph=False)
    _assert_equal(run(inputs), outputs, 1e-6)
    one = tf.nest.map_structure(lambda value: value[:1], inputs)
    first = tf.nest.map_structure(lambda value: value[:1], outputs)
    _assert_equal(run(one), first, 1e-5)


def _any_batch(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None, None], value.dtype, 1, value.row_splits.dtype)
    return tf.TensorSpec([None, *value.shape[1:]], value.dtype)


def _check_config(layer: keras.layers.Layer, inputs: Any) -> None:
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    again(inputs, training=False)
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in layer.weights]


def _check_repeatable(make: Callable[[], keras.layers.Layer], inputs: Any, outputs: Any) -> None:
    tf.random.set_seed(99)  # What a layer draws must come from its own seed, not from here.
    again = make()
    _assert_equal(again(inputs, training=False), outputs, 0.0)


def _check_saving(
    make: Callable[[], keras.layers.Layer], layer: keras.layers.Layer, inputs: Any, outputs: Any, folder: Path
) -> None:
    tf.train.Checkpoint(layer=layer).write(str(folder / "weights"))
    again = make()
    again(inputs, training=False)
    for weight in again.weights:
        weight.assign(tf.zeros_like(weight))
    tf.train.Checkpoint(layer=again).read(str(folder / "weights")).assert_consumed()
    for restored, weight in zip(again.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(restored.numpy(), weight.numpy())
    _assert_equal(again(inputs, training=False), outputs, 0.0)


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """A Keras precision policy for the layers made inside."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _check_mixed_precision(make: Callable[[], keras.layers.Layer], inputs: Any) -> None:
    """Under mixed bfloat16: float32 weights, outputs near those of float32, finite gradients; logits in float32."""
    exact = _moved(make(), inputs)
    with policy("mixed_bfloat16"):
        mixed = _moved(make(), inputs)
    for weight, other in zip(mixed.weights, exact.weights, strict=True):
        assert weight.dtype == other.dtype
        np.testing.assert_array_equal(weight.numpy(), other.numpy())
    outputs = mixed(inputs, training=False)
    for output, expected in zip(tf.nest.flatten(outputs), tf.nest.flatten(exact(inputs, training=False)), strict=True):
        allowed = (tf.float32,) if isinstance(mixed, keras.Model) else (tf.bfloat16, tf.float32)
        assert output.dtype in allowed, output.dtype
        # bfloat16 has 8 bits: a rounding is wrong by at most 1/256 of the number, and several add up.
        tolerance = 0.1 * float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(tf.cast(output, tf.float32).numpy(), expected.numpy(), rtol=0, atol=tolerance)
    for gradient in _loss_and_gradients(mixed, inputs, training=True)[1]:
        assert gradient.dtype == tf.float32
        assert np.isfinite(gradient.numpy()).all()


def _check_xla(make: Callable[[], keras.layers.Layer], inputs: Any) -> None:
    """Compiled, the same outputs and the same gradients."""
    layer = _moved(make(), inputs)
    run = tf.function(lambda batch: layer(batch, training=False), jit_compile=True, autograph=False)
    _assert_equal(run(inputs), layer(inputs, training=False), 1e-4)
    step = tf.function(
        lambda batch: _loss_and_gradients(layer, batch, training=False), jit_compile=True, autograph=False
    )
    _assert_equal(step(inputs), _loss_and_gradients(layer, inputs, training=False), 1e-4)


def _moved(layer: keras.layers.Layer, inputs: Any) -> keras.layers.Layer:
    """Built, its weights away from zero, where a weight may have no effect on anything."""
    layer(inputs, training=False)
    for index, weight in enumerate(layer.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [7, index], stddev=0.3))
    return layer


def _loss_and_gradients(layer: keras.layers.Layer, inputs: Any, training: bool) -> tuple[tf.Tensor, list[tf.Tensor]]:
    with tf.GradientTape() as tape:
        outputs = [tf.cast(output, tf.float32) for output in tf.nest.flatten(layer(inputs, training=training))]
        loss = tf.add_n([tf.reduce_mean(tf.square(output - 1.0)) for output in outputs])
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert all(gradient is not None for gradient in gradients), "a weight gets no gradient"
    return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


def _check_training_step(make: Callable[[], keras.layers.Layer], inputs: Any) -> None:
    first, second = _trained(make, inputs), _trained(make, inputs)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def _trained(make: Callable[[], keras.layers.Layer], inputs: Any) -> list[np.ndarray]:
    layer = _moved(make(), inputs)
    before = [weight.numpy() for weight in layer.trainable_weights]
    optimizer = keras.optimizers.SGD(0.1)
    _, gradients = _loss_and_gradients(layer, inputs, training=True)
    optimizer.apply_gradients(zip(gradients, layer.trainable_weights, strict=True))
    after = [weight.numpy() for weight in layer.trainable_weights]
    assert all((old != new).any() for old, new in zip(before, after, strict=True)), "a weight does not move"
    return after


def _assert_equal(actual: Any, expected: Any, tolerance: float) -> None:
    for one, other in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=tolerance, atol=tolerance)
