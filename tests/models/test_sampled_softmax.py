"""The softmax over a batch's items: its equation in plain NumPy, with and without corrections."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.retrieval.sampled_softmax import SampledSoftmax

_USER = np.array([[1.0, 2.0], [0.0, 1.0], [-1.0, 1.0], [2.0, 0.5]])
_ITEM = np.array([[0.5, 1.0], [1.0, -1.0], [0.5, 1.0], [2.0, 0.0]])
_IDS = np.array([7, 3, 7, 4])
_SHARES = np.array([0.5, 0.25, 0.5, 0.25])
_CLICKED = np.array([True, False, True, True])


def _loss(loss: Any = None, **changes: Any) -> float:
    given = {"user": _USER, "item": _ITEM, "item_ids": _IDS, "probabilities": _SHARES, "clicked": _CLICKED, **changes}
    return float((loss or SampledSoftmax())(**{name: tf.constant(value) for name, value in given.items()}))


def _expected(kept: dict[int, list[int]], shares: np.ndarray, temperature: float = 1.0) -> float:
    """The mean over the rows that are keys; of each the columns in its sum."""
    losses = []
    for i, columns in kept.items():
        scores = {j: _USER[i] @ _ITEM[j] / temperature - np.log(shares[j]) for j in columns}
        losses.append(-np.log(np.exp(scores[i]) / sum(np.exp(score) for score in scores.values())))
    return float(np.mean(losses))


# Rows 0 and 2 have one item, so that neither is a negative of the other; row 1 was not clicked.
_KEPT = {0: [0, 1, 3], 2: [1, 2, 3], 3: [0, 1, 2, 3]}


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_loss_by_hand(temperature: float) -> None:
    assert _loss(SampledSoftmax(temperature)) == pytest.approx(_expected(_KEPT, _SHARES, temperature), rel=1e-5)


def test_the_correction_and_the_removal_both_count() -> None:
    shares, hits = np.full(4, 0.5), {0: [0, 1, 2, 3], 2: [0, 1, 2, 3], 3: [0, 1, 2, 3]}
    uncorrected, unremoved = _expected(_KEPT, shares), _expected(hits, _SHARES)
    assert _loss(probabilities=shares) == pytest.approx(uncorrected, rel=1e-5)
    assert _loss(item_ids=np.arange(4)) == pytest.approx(unremoved, rel=1e-5)
    assert min(abs(_loss() - uncorrected), abs(_loss() - unremoved)) > 0.01


def test_rows_without_a_click_are_negatives_and_no_more() -> None:
    asked = _USER.copy()
    asked[1] = 99.0
    assert _loss(user=asked) == _loss()
    offered = _ITEM.copy()
    offered[1] = 3.0
    assert _loss(item=offered) > _loss() + 0.1


def test_a_batch_without_clicks_costs_nothing() -> None:
    assert _loss(clicked=np.zeros(4, bool)) == 0.0


def test_order_does_not_matter() -> None:
    order = [2, 0, 3, 1]
    given = {"user": _USER, "item": _ITEM, "item_ids": _IDS, "probabilities": _SHARES, "clicked": _CLICKED}
    assert _loss(**{name: value[order] for name, value in given.items()}) == pytest.approx(_loss(), rel=1e-5)


@pytest.mark.parametrize("autograph", [True, False])
def test_a_compiled_step_has_the_gradient_of_the_formula(autograph: bool) -> None:
    loss = SampledSoftmax()
    rest = tf.constant(_IDS), tf.constant(_SHARES), tf.constant(_CLICKED)

    def step(user: tf.Tensor, item: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([user, item])
            found = loss(user, item, *rest)
        return tape.gradient(found, [user, item])

    asked, offered = tf.function(step, autograph=autograph)(*(tf.constant(part, tf.float32) for part in (_USER, _ITEM)))
    expected_user, expected_item = np.zeros((4, 2)), np.zeros((4, 2))
    for i, columns in _KEPT.items():
        scores = np.array([_USER[i] @ _ITEM[j] - np.log(_SHARES[j]) for j in columns])
        weights = np.exp(scores) / np.exp(scores).sum() - (np.array(columns) == i)
        for j, weight in zip(columns, weights, strict=True):
            expected_user[i] += weight * _ITEM[j] / 3
            expected_item[j] += weight * _USER[i] / 3
    np.testing.assert_allclose(asked.numpy(), expected_user, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(offered.numpy(), expected_item, rtol=1e-4, atol=1e-6)


def test_a_share_of_less_than_a_millionth_counts_as_one() -> None:
    assert _loss(probabilities=np.full(4, 1e-9)) == pytest.approx(_expected(_KEPT, np.full(4, 1e-6)), rel=1e-4)
    tiny = np.where(np.arange(4) == 1, 1e-9, _SHARES)
    assert _loss(probabilities=tiny) == pytest.approx(_expected(_KEPT, np.maximum(tiny, 1e-6)), rel=1e-4)


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature is 0; expected more than 0"):
        SampledSoftmax(0)


def test_only_the_loss_itself_imports_tensorflow_recommenders() -> None:
    code = "import sys, models.retrieval.sampled_softmax; print('tensorflow_recommenders' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False"]
