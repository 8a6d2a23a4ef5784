from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.duet import ScheduledWeight, WeightSchedule

_STEPS = (0, 5, 10, 20, 21, 1000)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.4] * 6),
        ("ramp", [0.0, 0.1, 0.2, 0.4, 0.4, 0.4]),
        # 0.4 (1 + cos(pi t)) / 2 at t = 0, 1/4, 1/2, 1.
        ("cosine", [0.4, 0.2 * (1 + 0.5**0.5), 0.2, 0.0, 0.0, 0.0]),
        ("step", [0.0, 0.0, 0.0, 0.4, 0.4, 0.4]),
    ],
)
def test_weight_at_each_step_by_hand(schedule: WeightSchedule, expected: list[float]) -> None:
    weight = ScheduledWeight(0.4, schedule, 20)
    np.testing.assert_allclose([weight.at(step) for step in _STEPS], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("schedule", "expected"), [("constant", 0.3), ("ramp", 0.3), ("step", 0.3), ("cosine", 0.0)])
def test_without_steps_the_end_is_there_at_once(schedule: WeightSchedule, expected: float) -> None:
    assert float(ScheduledWeight(0.3, schedule).at(0)) == pytest.approx(expected)


def test_follows_an_optimizer_in_a_graph() -> None:
    iterations, weight = tf.Variable(0, dtype=tf.int64), ScheduledWeight(1.0, "ramp", 4)
    at = tf.function(lambda: weight.at(iterations), autograph=False)
    found = []
    for step in range(6):
        iterations.assign(step)
        found.append(float(at()))
    assert found == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0,), "weight is -1.0, steps 0; expected 0 or more"),
        ((1.0, "ramp", -5), "steps -5"),
        ((1.0, "rmap"), "schedule is 'rmap'; expected one of constant, ramp, cosine, step; did you mean 'ramp'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduledWeight(*arguments)
