from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.layers.linear_attention import LinearAttention
from tests.helpers.layer_check import check_layer, policy

_MAPS = ("elu1", "relu", "softmax_qk")
_QUERIES = np.random.default_rng(1).normal(size=(2, 5, 6)).astype(np.float32)
_KEYS = np.random.default_rng(2).normal(size=(2, 7, 3)).astype(np.float32)
_MASK = np.array([[1, 1, 0, 1, 1, 0, 0], [1] * 7], bool)


def _layer(feature_map: str, width: int = 8, heads: int = 2, **options: Any) -> LinearAttention:
    layer = LinearAttention(width, heads, feature_map, **options)  # type: ignore[arg-type]
    layer(_QUERIES, _KEYS, _MASK)
    return layer


def _softmax(values: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(values - values.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def _phi(feature_map: str, queries: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of one head's queries `[M, d]` and real keys `[n, d]`."""
    if feature_map == "softmax_qk":
        return _softmax(queries, 1), _softmax(keys, 0)
    if feature_map == "relu":
        return np.maximum(queries, 0), np.maximum(keys, 0)
    return tuple(np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (queries, keys))  # type: ignore[return-value]


def _kernels(layer: LinearAttention, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The explicit `[H, M, n]` similarities of one record with real keys alone."""
    weights = [weight.astype(np.float64) for weight in layer.get_weights()]
    asked, offered = (np.split(x @ w, layer.heads, axis=1) for x, w in zip((queries, keys), weights))
    found = []
    for one, other in zip(asked, offered):
        if layer.feature_map == "exact":
            found.append(np.exp(one @ other.T / np.sqrt(one.shape[1])))
        else:
            one, other = _phi(layer.feature_map, one, other)
            found.append(one @ other.T)
    return np.stack(found)


def _expected(layer: LinearAttention, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    kernels = _kernels(layer, queries, keys)
    values = np.split(keys @ layer.get_weights()[2].astype(np.float64), layer.heads, axis=1)
    rows = [kernel / (kernel.sum(1, keepdims=True) + 1e-6) @ own for kernel, own in zip(kernels, values)]
    return np.concatenate(rows, axis=1)


def test_eq3_one_query_over_two_keys_by_hand() -> None:
    layer = LinearAttention(1, 1, "elu1")
    layer(np.zeros((1, 1, 1), np.float32), np.zeros((1, 2, 1), np.float32), np.ones((1, 2), bool))
    layer.set_weights([np.array([[1.0]]), np.array([[1.0]]), np.array([[10.0]])])
    queries, keys = np.array([[[2.0]]], np.float32), np.array([[[1.0], [3.0]]], np.float32)
    attended, degrees = layer(queries, keys, np.ones((1, 2), bool))
    # phi: 3; 2 and 4. Similarities 6 and 12, values 10 and 30: (6 * 10 + 12 * 30) / 18.
    assert float(degrees[0, 0, 0]) == pytest.approx(18)
    assert float(attended[0, 0, 0]) == pytest.approx(420 / 18, rel=1e-6)


def test_elu1_below_zero_is_the_exponential() -> None:
    layer = LinearAttention(1, 1, "elu1")
    queries, keys = np.array([[[-2.0]]], np.float32), np.array([[[-1.0]]], np.float32)
    layer(queries, keys, np.ones((1, 1), bool))
    layer.set_weights([np.array([[1.0]])] * 3)
    assert float(layer(queries, keys, np.ones((1, 1), bool))[1][0, 0, 0]) == pytest.approx(np.exp(-3), rel=1e-5)


@pytest.mark.parametrize("feature_map", [*_MAPS, "exact"])
def test_eq3_and_eq4_equal_the_explicit_row_normalised_kernel_matrix(feature_map: str) -> None:
    layer = _layer(feature_map)
    attended, _ = layer(_QUERIES, _KEYS, _MASK)
    for record in range(2):
        expected = _expected(layer, _QUERIES[record], _KEYS[record][_MASK[record]])
        np.testing.assert_allclose(attended[record], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("feature_map", _MAPS)
def test_eq7_degrees_are_the_row_sums_of_the_kernel_matrix(feature_map: str) -> None:
    layer = _layer(feature_map)
    _, degrees = layer(_QUERIES, _KEYS, _MASK)
    assert degrees.dtype == tf.float32
    for record in range(2):
        sums = _kernels(layer, _QUERIES[record], _KEYS[record][_MASK[record]]).sum(2).T
        np.testing.assert_allclose(degrees[record], sums, rtol=1e-5, atol=1e-6)


def test_softmax_qk_has_degrees_of_one() -> None:
    np.testing.assert_allclose(_layer("softmax_qk")(_QUERIES, _KEYS, _MASK)[1], np.ones((2, 5, 2)), rtol=1e-5)


@pytest.mark.parametrize("feature_map", ["elu1", "softmax_qk", "exact"])
def test_weights_of_a_row_sum_to_one(feature_map: str) -> None:
    # Keys with a constant column, which alone makes the values: their mean is that constant.
    keys = np.concatenate([_KEYS, np.ones((2, 7, 1), np.float32)], axis=2)
    layer = LinearAttention(8, 2, feature_map)  # type: ignore[arg-type]
    layer(_QUERIES, keys, _MASK)
    query, key, value = layer.get_weights()
    layer.set_weights([query, key, np.concatenate([np.zeros((3, 8)), np.full((1, 8), 5.0)])])
    np.testing.assert_allclose(layer(_QUERIES, keys, _MASK)[0], np.full((2, 5, 8), 5.0), rtol=1e-5)
    assert value.shape == (4, 8)


@pytest.mark.parametrize("feature_map", [*_MAPS, "exact"])
def test_a_query_sees_neither_padding_nor_other_records_nor_other_queries(feature_map: str) -> None:
    layer = _layer(feature_map)
    whole, degrees = layer(_QUERIES, _KEYS, _MASK)
    noise = np.where(_MASK[..., None], _KEYS, 1e3).astype(np.float32)
    np.testing.assert_array_equal(layer(_QUERIES, noise, _MASK)[0], whole)
    longer = layer(_QUERIES, np.pad(_KEYS, ((0, 0), (0, 4), (0, 0))), np.pad(_MASK, ((0, 0), (0, 4))))
    np.testing.assert_allclose(longer[0], whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(longer[1], degrees, rtol=1e-5, atol=1e-6)
    alone = layer(_QUERIES[1:, 2:3], _KEYS[1:], _MASK[1:])[0]
    np.testing.assert_allclose(alone, whole[1:, 2:3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("feature_map", [*_MAPS, "exact"])
def test_order_of_queries_is_kept_and_that_of_keys_does_not_matter(feature_map: str) -> None:
    layer, random = _layer(feature_map), np.random.default_rng(3)
    queries, keys = random.permutation(5), random.permutation(7)
    expected = layer(_QUERIES, _KEYS, _MASK)[0].numpy()[:, queries]
    found = layer(_QUERIES[:, queries], _KEYS[:, keys], _MASK[:, keys])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [0, 3])
@pytest.mark.parametrize("feature_map", [*_MAPS, "exact"])
def test_no_real_key_gives_zeros_and_finite_gradients(feature_map: str, length: int) -> None:
    layer, mask = _layer(feature_map), np.zeros((2, length), bool)
    keys = tf.constant(_KEYS[:, :length])
    with tf.GradientTape() as tape:
        tape.watch(keys)
        attended, degrees = layer(_QUERIES, keys, mask)
        loss = tf.reduce_sum(attended) + tf.reduce_sum(degrees)
    assert attended.shape == (2, 5, 8) and not attended.numpy().any() and not degrees.numpy().any()
    gradients = tape.gradient(loss, [keys, *layer.trainable_weights], unconnected_gradients="zero")
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_relu_rows_without_any_similarity_are_zeros() -> None:
    layer = LinearAttention(2, 1, "relu")
    queries, keys = -np.ones((1, 1, 2), np.float32), np.ones((1, 3, 2), np.float32)
    layer(queries, keys, np.ones((1, 3), bool))
    layer.set_weights([np.eye(2)] * 3)
    attended, degrees = layer(queries, keys, np.ones((1, 3), bool))
    assert not attended.numpy().any() and not degrees.numpy().any()


@pytest.mark.parametrize("feature_map", [*_MAPS, "exact"])
def test_huge_scores_stay_finite(feature_map: str) -> None:
    attended, _ = _layer(feature_map)(_QUERIES * 100, _KEYS * 100, _MASK)
    assert np.isfinite(attended).all()


def _largest_tensor(layer: LinearAttention, m: int, n: int) -> int:
    """Elements of the largest tensor of a forward and a backward pass, whatever its shape."""

    @tf.function(autograph=False)
    def step(queries: tf.Tensor, keys: tf.Tensor, mask: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([queries, keys])
            loss = tf.reduce_sum(layer(queries, keys, mask)[0] ** 2)
        gradients: list[tf.Tensor] = tape.gradient(loss, [queries, keys, *layer.trainable_weights])
        return gradients

    specs = [tf.TensorSpec([1, m, 6]), tf.TensorSpec([1, n, 3]), tf.TensorSpec([1, n], tf.bool)]
    graph = step.get_concrete_function(*specs).graph
    shapes = [tensor.shape for operation in graph.get_operations() for tensor in operation.outputs]
    assert len(shapes) > 30 and all(shape.is_fully_defined() for shape in shapes if shape.rank != 1)
    return max(shape.num_elements() or 0 for shape in shapes)


@pytest.mark.parametrize("feature_map", _MAPS)
def test_no_tensor_grows_as_candidates_times_history(feature_map: str) -> None:
    m, n = 401, 307
    # Queries and their degrees, W + H numbers a candidate, are the most.
    assert _largest_tensor(_layer(feature_map), m, n) <= m * (8 + 2)
    assert _largest_tensor(_layer("exact"), m, n) >= 2 * m * n


def test_seed_decides_the_weights_and_no_two_kernels_are_alike() -> None:
    first, same, other = (_layer("elu1", seed=seed).get_weights() for seed in (1, 1, 2))
    for one, two, three in zip(first, same, other):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()
    assert not np.allclose(first[1], first[2])


@keras.utils.register_keras_serializable(package="consort_tests")
class _Attended(keras.layers.Layer):
    """The layer as one of a single argument."""

    def __init__(self, attention: Any, **kwargs: Any):
        super().__init__(**kwargs)
        built = isinstance(attention, LinearAttention)
        self.attention = attention if built else LinearAttention.from_config(attention)

    def call(self, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return self.attention(inputs["queries"], inputs["keys"], inputs["mask"])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "attention": self.attention.get_config()}


@pytest.mark.parametrize("feature_map", [*_MAPS, "exact"])
def test_is_a_sound_layer(feature_map: Any, tmp_path: Path) -> None:
    inputs = {"queries": tf.constant(_QUERIES), "keys": tf.constant(_KEYS), "mask": tf.constant(_MASK)}

    def make() -> keras.layers.Layer:
        return _Attended(LinearAttention(8, 2, feature_map, seed=5, name="attention"), name="attended")

    # Degrees of relu may be next to nothing, where bfloat16 decides between a mean and zeros.
    if feature_map == "relu":
        inputs["queries"], inputs["keys"] = tf.abs(inputs["queries"]), tf.abs(inputs["keys"])
    check_layer(make, inputs, tmp_path)


def test_degrees_stay_float32_in_mixed_precision() -> None:
    with policy("mixed_bfloat16"):
        attended, degrees = LinearAttention(8, 2)(_QUERIES, _KEYS, _MASK)
    assert attended.dtype == tf.bfloat16 and degrees.dtype == tf.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 6, "heads": 4}, "width is 6, heads 4; expected a multiple of heads"),
        ({"heads": 0}, "heads is 0"),
        ({"feature_map": "elu"}, "feature_map is 'elu'; expected one of elu1, relu, softmax_qk, exact; did you mean"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearAttention(**options)


@pytest.mark.parametrize("feature_map", ["elu1", "relu", "softmax_qk", "exact"])
def test_without_a_mask_all_keys_are_real(feature_map: Any) -> None:
    queries, keys = tf.random.stateless_normal([2, 3, 4], [1, 2]), tf.random.stateless_normal([2, 5, 4], [3, 4])
    layer = LinearAttention(8, 2, feature_map, seed=1)
    for found, expected in zip(layer(queries, keys), layer(queries, keys, tf.ones([2, 5], tf.bool)), strict=True):
        np.testing.assert_array_equal(found, expected)
