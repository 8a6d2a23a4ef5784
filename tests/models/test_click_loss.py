import math

import numpy as np
import pytest
import tensorflow as tf

from models.training.losses import ClickLoss, Examples, LogLoss

_LOGITS = tf.math.log([[1 / 3, 3.0], [1.0, 4.0]])  # probabilities 1/4, 3/4, 1/2, 4/5
_LABELS = tf.constant([[0.0, 1.0], [1.0, 0.0]])
_LOSSES = [-math.log(3 / 4), -math.log(3 / 4), -math.log(1 / 2), -math.log(1 / 5)]


def test_loss_of_requests_by_hand() -> None:
    assert ClickLoss()(_LABELS, _LOGITS).numpy() == pytest.approx(sum(_LOSSES) / 4, rel=1e-6)


def test_only_exposed_candidates_count() -> None:
    exposed = tf.constant([[1.0, 0.0], [1.0, 0.0]])
    expected = (_LOSSES[0] + _LOSSES[2]) / 2
    assert ClickLoss()(_LABELS, _LOGITS, exposed).numpy() == pytest.approx(expected, rel=1e-6)


def test_weights_of_rows_by_hand() -> None:
    weights = tf.constant([3.0, 0.0, 1.0, 0.0])
    loss = ClickLoss()(tf.reshape(_LABELS, [-1]), tf.reshape(_LOGITS, [-1]), weights)
    assert loss.numpy() == pytest.approx((3 * _LOSSES[0] + _LOSSES[2]) / 4, rel=1e-6)


def test_nothing_exposed_is_no_loss_and_no_gradient() -> None:
    logits = tf.Variable(_LOGITS)
    with tf.GradientTape() as tape:
        loss = ClickLoss()(_LABELS, logits, tf.zeros([2, 2]))
    assert loss.numpy() == 0
    assert not tape.gradient(loss, logits).numpy().any()


def test_metric_over_batches_weights_each_element() -> None:
    metric = LogLoss()
    metric.update_state(_LABELS[:1], _LOGITS[:1], tf.constant([[1.0, 0.0]]))
    metric.update_state(_LABELS[1:], _LOGITS[1:], tf.constant([[1.0, 1.0]]))
    expected = (_LOSSES[0] + _LOSSES[2] + _LOSSES[3]) / 3
    assert metric.result().numpy() == pytest.approx(expected, rel=1e-6)
    assert type(metric).from_config(metric.get_config()).name == "logloss"


def test_integer_labels_are_taken() -> None:
    assert ClickLoss()(tf.cast(_LABELS, tf.int64), _LOGITS).numpy() == pytest.approx(np.mean(_LOSSES), rel=1e-6)


def test_examples_are_records_not_candidates() -> None:
    metric = Examples()
    metric.update_state(tf.zeros([3, 7]), tf.zeros([3, 7]))
    metric.update_state(tf.zeros([2]), tf.zeros([2]))
    assert int(metric.result()) == 5
    metric.reset_state()
    assert int(metric.result()) == 0
