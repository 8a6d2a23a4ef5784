import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.training.optimizers import LazyAdam

_RATE, _BETA_1, _BETA_2, _EPSILON = 0.05, 0.8, 0.95, 1e-6


def _optimizer(rate: Any = _RATE) -> LazyAdam:
    return LazyAdam(rate, beta_1=_BETA_1, beta_2=_BETA_2, epsilon=_EPSILON)


class _Reference:
    """Adam in plain NumPy, on all rows or on some."""

    def __init__(self, values: np.ndarray):
        self.values, self.m, self.v, self.t = values.astype(np.float64), 0.0 * values, 0.0 * values, 0

    def step(self, gradient: np.ndarray, rows: Any = slice(None), rate: float = _RATE) -> None:
        self.t += 1
        self.m[rows] = _BETA_1 * self.m[rows] + (1 - _BETA_1) * gradient
        self.v[rows] = _BETA_2 * self.v[rows] + (1 - _BETA_2) * gradient**2
        rate = rate * np.sqrt(1 - _BETA_2**self.t) / (1 - _BETA_1**self.t)
        self.values[rows] -= rate * self.m[rows] / (np.sqrt(self.v[rows]) + _EPSILON)


def _start(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_first_step_by_hand() -> None:
    # m = 0.2 g, v = 0.05 g^2, both corrected back to g and g^2: the step is rate * sign(g), but for epsilon.
    variable = tf.Variable([1.0, 1.0])
    _optimizer().apply_gradients([(tf.constant([4.0, -0.5]), variable)])
    np.testing.assert_allclose(variable.numpy(), [0.95, 1.05], rtol=1e-5)


def test_dense_gradients_move_as_in_adam() -> None:
    start = _start(4, 3)
    variable, reference, optimizer = tf.Variable(start), _Reference(start), _optimizer()
    for step in range(5):
        gradient = np.random.default_rng(step).normal(size=(4, 3))
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        reference.step(gradient)
    np.testing.assert_allclose(variable.numpy(), reference.values, rtol=1e-5)


@pytest.mark.parametrize("in_graph", [False, True])
def test_sparse_gradients_move_only_their_rows_duplicates_summed(in_graph: bool) -> None:
    start = _start(6, 2)
    variable, reference, optimizer = tf.Variable(start), _Reference(start), _optimizer()

    def apply(values: tf.Tensor, indices: tf.Tensor) -> None:
        optimizer.apply_gradients([(tf.IndexedSlices(values, indices, tf.constant([6, 2])), variable)])

    run = tf.function(apply, reduce_retracing=True) if in_graph else apply
    for indices, summed in (([4, 1, 4], {4: (0, 2), 1: (1,)}), ([1], {1: (0,)}), ([2, 2, 2], {2: (0, 1, 2)})):
        values = np.random.default_rng(len(indices)).normal(size=(len(indices), 2)).astype(np.float32)
        run(tf.constant(values), tf.constant(indices, tf.int64))
        reference.step(np.array([values[list(parts)].sum(0) for parts in summed.values()]), list(summed))
    np.testing.assert_allclose(variable.numpy(), reference.values, rtol=1e-5)
    m, v = optimizer.variables[1:]
    np.testing.assert_allclose(m.numpy(), reference.m, rtol=1e-5)
    np.testing.assert_allclose(v.numpy(), reference.v, rtol=1e-5)


def test_other_rows_and_their_moments_stay_bitwise_the_same() -> None:
    variable, optimizer = tf.Variable(_start(5, 2)), _optimizer()
    optimizer.apply_gradients([(tf.constant(_start(5, 2)), variable)])
    before = [variable.numpy(), *(slot.numpy() for slot in optimizer.variables[1:])]
    optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([1, 2]), tf.constant([3], tf.int64)), variable)])
    after = [variable.numpy(), *(slot.numpy() for slot in optimizer.variables[1:])]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[[0, 1, 2, 4]], new[[0, 1, 2, 4]])
        assert (old[3] != new[3]).all()


def _moments_after_a_lookup(lookup: Any, in_graph: bool) -> np.ndarray:
    """The first moments; the first step itself would be the same for any size of the gradient."""
    table, optimizer = tf.Variable(_start(8, 2)), _optimizer()

    def step(ids: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(lookup(table, ids)))
        optimizer.minimize(loss, [table], tape=tape)

    (tf.function(step) if in_graph else step)(tf.constant([5, 2, 5, 5], tf.int64))
    moments: np.ndarray = optimizer.variables[1].numpy()
    return moments


@pytest.mark.parametrize("in_graph", [False, True])
def test_repeated_ids_are_summed_however_they_were_looked_up(in_graph: bool) -> None:
    def distinct(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
        rows, positions = tf.unique(ids)
        counts = tf.math.bincount(positions, dtype=tf.float32)
        return tf.sqrt(counts)[:, tf.newaxis] * tf.gather(table, rows)

    def by_position(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
        # The second output of tf.unique repeats: it must not pass for distinct.
        return tf.gather(table, tf.gather(tf.constant([5, 2]), tf.unique(ids)[1]))

    reference = _Reference(_start(8, 2))
    start = _start(8, 2)
    reference.step(2 * np.array([3 * start[5], start[2]]), [5, 2])
    for lookup in (tf.gather, distinct, by_position):
        np.testing.assert_allclose(_moments_after_a_lookup(lookup, in_graph), reference.m, rtol=1e-5)


def test_positions_in_a_list_of_distinct_ids_are_not_taken_for_distinct() -> None:
    def lookup(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.unique(ids)[1])  # rows 0, 1, 0, 0

    start, reference = _start(8, 2), _Reference(_start(8, 2))
    reference.step(2 * np.array([3 * start[0], start[1]]), [0, 1])
    np.testing.assert_allclose(_moments_after_a_lookup(lookup, in_graph=True), reference.m, rtol=1e-5)


def test_rows_that_are_distinct_are_not_sought_again() -> None:
    table, optimizer = tf.Variable(_start(8, 2)), _optimizer()

    @tf.function
    def step(ids: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.gather(table, tf.unique(ids)[0][1:])))
        optimizer.minimize(loss, [table], tape=tape)

    graph = step.get_concrete_function(tf.TensorSpec([None], tf.int64)).graph
    assert [operation.type for operation in graph.get_operations()].count("Unique") == 1


def test_takes_a_schedule() -> None:
    start = _start(3, 1)
    variable, reference = tf.Variable(start), _Reference(start)
    optimizer = _optimizer(keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.1]))
    for rate in (0.5, 0.1):
        optimizer.apply_gradients([(tf.ones([3, 1]), variable)])
        reference.step(np.ones((3, 1)), rate=rate)
    np.testing.assert_allclose(variable.numpy(), reference.values, rtol=1e-5)


def test_config_round_trip() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    for rate in (0.1, schedule):
        optimizer = keras.optimizers.get(keras.optimizers.serialize(_optimizer(rate)))
        assert isinstance(optimizer, LazyAdam)
        assert optimizer.get_config() == _optimizer(rate).get_config()


def test_checkpoints_hold_moments_but_no_scratch_room(tmp_path: Path) -> None:
    variable, optimizer = tf.Variable(_start(5, 2)), _optimizer()
    optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([1, 2]), tf.constant([3], tf.int64)), variable)])
    assert [tuple(slot.shape) for slot in optimizer.variables] == [(), (5, 2), (5, 2)]
    path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "optimizer"))
    assert {tuple(shape) for _, shape in tf.train.list_variables(path)} == {(), (5, 2)}


def test_a_step_costs_the_same_in_a_large_table() -> None:
    def seconds(rows: int) -> float:
        table, optimizer = tf.Variable(tf.zeros([rows, 17])), _optimizer()

        @tf.function
        def step(ids: tf.Tensor) -> None:
            optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([1000, 17]), ids), table)])

        ids = tf.constant(np.random.default_rng(0).integers(0, rows, 1000))
        step(ids)
        times = []
        for _ in range(15):
            start = time.perf_counter()
            step(ids)
            times.append(time.perf_counter() - start)
        return min(times)

    # Touching all of the large table would cost it a hundred times as much; a busy machine, not tenfold.
    assert seconds(1_000_000) < 10 * seconds(10_000)
