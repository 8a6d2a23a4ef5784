"""Fields of several ids, pooled to one vector, and vectors of numbers, projected to one."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers.field_embeddings import FieldEmbeddings
from models.layers.interleaved_embeddings import EmbeddingPart, InterleavedEmbeddings
from models.training.optimizers import LazyAdam
from transforms.features import ModelInput, Pooling

_SIZES = {"tags": 7}
_POOLINGS: tuple[Pooling, ...] = ("sum", "mean", "max")


def _tags(width: int, pooling: Pooling, shape: Any = "values") -> ModelInput:
    return ModelInput(name="tags", vocabulary="tags", shape=shape, entity="item", width=width, pooling=pooling)


def _layer(*inputs: ModelInput) -> FieldEmbeddings:
    layer = FieldEmbeddings(inputs, _SIZES, embedding_dim=2)
    layer.build(None)
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    if layer.table is not None:
        layer.table.assign(tf.concat([tf.zeros([1, 3]), layer.table[1:]], axis=0))
    return layer


def _pooled(rows: np.ndarray, pooling: Pooling) -> np.ndarray:
    if not len(rows):
        return np.zeros(3)
    result: np.ndarray = rows.max(axis=0) if pooling == "max" else rows.sum(axis=0)
    return result / len(rows) if pooling == "mean" else result


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pooling", _POOLINGS)
def test_the_vectors_of_several_ids_are_pooled_without_padding(pooling: Pooling, training: bool) -> None:
    layer, ids = _layer(_tags(3, pooling)), [[2, 0, 5], [0, 0, 0], [6, 6, 1], [0, 4, 0]]
    table = layer.table.numpy()
    expected = np.array([_pooled(table[[one for one in row if one]], pooling) for row in ids])
    embeddings, linear = layer({"tags": tf.constant(ids, tf.int64)}, training=training)
    np.testing.assert_allclose(embeddings[:, 0], expected[:, :2], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(linear[:, 0], expected[:, 2], rtol=1e-6, atol=1e-7)


def test_a_vector_of_numbers_is_one_field_of_its_products_with_learned_columns() -> None:
    image = ModelInput(name="image", vocabulary=None, shape="candidate_values", entity="item", width=3)
    age = ModelInput(name="age", vocabulary=None, shape="scalar", entity="user")
    layer = _layer(image, age)
    values = np.random.default_rng(1).normal(size=[2, 4, 3]).astype(np.float32)
    embeddings, linear = layer({"image": tf.constant(values), "age": tf.constant([2.0, -1.0])})
    first, *matrix = layer.number_vectors.numpy()  # Scalars stand before vectors.
    assert layer.field_names == ("age", "image")
    products = values @ np.array(matrix)
    np.testing.assert_allclose(embeddings[:, :, 1], products[..., :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(linear[:, :, 1], products[..., 2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embeddings[0, 3, 0], 2 * first[:2], rtol=1e-6)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=2, max_size=2), min_size=1),
    st.sampled_from(_POOLINGS),
    st.permutations(range(5)),
)
def test_neither_padding_nor_order_matters(ids: list[Any], pooling: Pooling, order: list[int]) -> None:
    narrow, wide = (_layer(_tags(width, pooling, "candidate_values")) for width in (3, 5))
    padded = np.pad(np.array(ids), [(0, 0), (0, 0), (0, 2)])[:, :, order]
    for one, other in zip(narrow({"tags": tf.constant(ids, tf.int64)}), wide({"tags": tf.constant(padded, tf.int64)})):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("pooling", _POOLINGS)
def test_a_step_moves_the_rows_of_the_ids_alone_and_leaves_padding_zero(pooling: Pooling) -> None:
    layer, optimizer = _layer(_tags(3, pooling)), LazyAdam(0.1)
    before, ids = layer.table.numpy(), tf.constant([[2, 0, 5], [0, 0, 0], [5, 0, 0]], tf.int64)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(part) for part in layer({"tags": ids}, training=True)])
        optimizer.apply_gradients([(tape.gradient(loss, layer.table), layer.table)])

    step()
    moved = np.abs(layer.table.numpy() - before).max(axis=1) > 1e-6
    assert moved.tolist() == [False, False, True, False, False, True, False]
    assert np.isfinite(layer.table.numpy()).all()


def test_peers_pool_and_project_as_each_does_alone() -> None:
    inputs = [_tags(3, "max"), ModelInput(name="image", vocabulary=None, shape="values", entity="item", width=2)]
    layer = InterleavedEmbeddings(inputs, _SIZES, [EmbeddingPart(2), EmbeddingPart(3, linear=False)])
    layer.build(None)
    batch = {"tags": tf.constant([[2, 0, 5], [0, 0, 0]], tf.int64), "image": tf.constant([[1.0, -2.0], [0.0, 3.0]])}
    for part, (embeddings, linear) in enumerate(layer(batch, training=True)):
        alone = FieldEmbeddings(inputs, _SIZES, layer.parts[part].embedding_dim, layer.parts[part].linear)
        alone.build(None)
        for target, source in ((alone.table, layer.table), (alone.number_vectors, layer.number_vectors)):
            target.assign(tf.gather(source, layer.columns(part), axis=1))
        expected = alone(batch)
        np.testing.assert_allclose(embeddings, expected[0], atol=1e-9)
        assert (linear is None) == (expected[1] is None)


def test_another_width_is_refused() -> None:
    layer = _layer(_tags(3, "sum"))
    with pytest.raises(ValueError, match=r"'tags' is dense of shape \(1, 2\); expected values \[B, 3\]"):
        layer({"tags": tf.constant([[1, 2]], tf.int64)})
