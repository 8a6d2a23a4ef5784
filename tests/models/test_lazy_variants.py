from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.training.compiling import compile_model, exponential_decay, precision
from models.training.optimizers import LazyAdagrad, LazyFtrl, RowSparseOptimizer


def _sparse(values: list[list[float]], indices: list[int]) -> tf.IndexedSlices:
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices, tf.int64), tf.constant([4, 1]))


def test_adagrad_by_hand() -> None:
    variable = tf.Variable([[1.0], [2.0], [3.0], [4.0]])
    optimizer = LazyAdagrad(0.5, initial_accumulator=0.0, epsilon=0.0)
    optimizer.apply_gradients([(_sparse([[3.0], [1.0]], [2, 2]), variable)])  # g = 4, n = 16: a step of 0.5
    np.testing.assert_allclose(variable.numpy(), [[1.0], [2.0], [2.5], [4.0]])
    optimizer.apply_gradients([(_sparse([[3.0]], [2]), variable)])  # n = 25, 0.5 * 3 / 5
    np.testing.assert_allclose(variable.numpy(), [[1.0], [2.0], [2.2], [4.0]], rtol=1e-6)


def test_ftrl_by_hand() -> None:
    # alpha 0.5, beta 0, n 0 at the start, so z starts at 0 whatever w is; g = 2: n = 4, sigma = 4, z = 2 - 4 w.
    variable = tf.Variable([[0.25], [1.0], [0.0], [0.0]])
    optimizer = LazyFtrl(0.5, initial_accumulator=0.0, l1=0.25, l2=1.0)
    optimizer.apply_gradients([(_sparse([[2.0]], [0]), variable)])
    # z = 2 - 4 * 0.25 - (l2 w of the start, 0.25) = 0.75; w = -(0.75 - 0.25) / (2 / 0.5 + 1)
    np.testing.assert_allclose(variable.numpy(), [[-0.1], [1.0], [0.0], [0.0]], rtol=1e-6)


def test_ftrl_gives_exact_zeros_within_l1() -> None:
    variable = tf.Variable([[0.0], [0.0], [0.0], [0.0]])
    optimizer = LazyFtrl(0.5, initial_accumulator=0.1, l1=0.5)
    optimizer.apply_gradients([(_sparse([[0.4], [0.6]], [0, 1]), variable)])
    assert variable.numpy()[0, 0] == 0 and variable.numpy()[1, 0] < 0


def test_ftrl_begins_at_the_initial_weight() -> None:
    variable = tf.Variable([[0.3], [0.0], [0.0], [0.0]])
    LazyFtrl(0.1, initial_accumulator=0.1).apply_gradients([(_sparse([[1e-6]], [0]), variable)])
    assert variable.numpy()[0, 0] == pytest.approx(0.3, abs=1e-5)


def test_dense_ftrl_without_penalties_is_that_of_keras_from_zero() -> None:
    ours, theirs = tf.Variable([0.0, 0.0]), tf.Variable([0.0, 0.0])
    one, other = LazyFtrl(0.1, beta=0.0), keras.optimizers.Ftrl(0.1)
    for step in range(4):
        gradient = tf.constant(np.random.default_rng(step).normal(size=2), tf.float32)
        one.apply_gradients([(gradient, ours)])
        other.apply_gradients([(gradient, theirs)])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize("optimizer", [LazyAdagrad(0.1), LazyFtrl(0.1, l2=0.01, beta=1.0)])
def test_rows_and_whole_tables_move_alike_and_other_rows_stay(optimizer: RowSparseOptimizer) -> None:
    start = np.random.default_rng(0).normal(size=(4, 1)).astype(np.float32)
    sparse, dense = tf.Variable(start), tf.Variable(start)
    optimizer.build([sparse, dense])
    for row, value in ((1, 0.5), (3, -2.0), (1, 1.0)):
        gradient = np.zeros((4, 1), np.float32)
        gradient[row] = value
        optimizer.apply_gradients([(_sparse([[value]], [row]), sparse), (tf.constant(gradient), dense)])
    np.testing.assert_allclose(sparse.numpy()[[1, 3]], dense.numpy()[[1, 3]], rtol=1e-5)
    np.testing.assert_array_equal(sparse.numpy()[[0, 2]], start[[0, 2]])


@pytest.mark.parametrize(
    "optimizer", [LazyAdagrad(0.2, initial_accumulator=0.3, epsilon=1e-3), LazyFtrl(0.2, 0.3, 0.4, 0.5, 0.6)]
)
def test_config_gives_the_optimizer_back(optimizer: Any) -> None:
    copy = keras.optimizers.get(keras.optimizers.serialize(optimizer))
    assert type(copy) is type(optimizer) and copy.get_config() == optimizer.get_config()


def test_an_unknown_optimizer_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="optimizer is 'sgd'; expected one of adam, adagrad, ftrl"):
        compile_model(keras.Sequential(), 0.1, "sgd")  # type: ignore[arg-type]


def test_the_learning_rate_falls_to_a_tenth_after_so_many_epochs() -> None:
    schedule = exponential_decay(1e-3, epochs=3, steps_per_epoch=100)
    # 10^(-1/3) = 0.464159
    np.testing.assert_allclose([schedule(0), schedule(100), schedule(300)], [1e-3, 4.64159e-4, 1e-4], rtol=1e-5)


def test_precision_holds_inside_only() -> None:
    with precision("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16" and keras.layers.Dense(1).dtype == "float32"
    assert keras.layers.Dense(1).compute_dtype == "float32"
    with pytest.raises(ValueError, match="precision is 'float16'"), precision("float16"):  # type: ignore[arg-type]
        pass
