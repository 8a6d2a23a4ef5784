import math

import numpy as np
import pytest
import tensorflow as tf

from models.layers.linear_attention import Extreme, degree_range, update_range

_DEGREES = tf.constant([[[3.0, 8.0], [0.5, 90.0]], [[2.0, 4.0], [7.0, 1.0]]])


def test_extremes_of_what_is_real_since_the_last_reset() -> None:
    least, greatest = extremes = degree_range("history")
    update_range(extremes, _DEGREES, tf.constant([[True, False], [True, False]]))
    assert (float(least.result()), float(greatest.result())) == (2.0, 8.0)
    update_range(extremes, _DEGREES, tf.constant([[False, False], [False, True]]))
    assert (float(least.result()), float(greatest.result())) == (1.0, 8.0)
    for metric in extremes:
        metric.reset_state()
    update_range(extremes, _DEGREES, tf.constant([[False, False], [True, False]]))
    assert (float(least.result()), float(greatest.result())) == (2.0, 4.0)


def test_nothing_real_changes_nothing() -> None:
    least, greatest = extremes = degree_range("candidates")
    update_range(extremes, _DEGREES, tf.zeros([2, 2], tf.bool))
    update_range(extremes, _DEGREES[:, :0], tf.zeros([2, 0], tf.bool))
    assert (float(least.result()), float(greatest.result())) == (math.inf, -math.inf)


def test_names_tell_the_stream_and_the_peer() -> None:
    least, greatest = degree_range("history")
    assert (least.name, greatest.name) == ("degree_min/history", "degree_max/history")
    greatest.suffix = "/peer_1"
    assert greatest.name == "degree_max/history/peer_1"


@pytest.mark.parametrize("greatest", [True, False])
def test_works_in_a_graph(greatest: bool) -> None:
    metric = Extreme("degrees", greatest)

    @tf.function(autograph=False)
    def update(values: tf.Tensor) -> None:
        for value in tf.unstack(values):
            metric.update_state(value)

    update(tf.constant([2.0, -1.0, 5.0]))
    assert float(metric.result()) == (5.0 if greatest else -1.0)
    np.testing.assert_array_equal([weight.shape for weight in metric.weights], [()])
