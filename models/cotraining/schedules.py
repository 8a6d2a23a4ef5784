"""How the weight of a term of the loss changes while training goes on."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from models.layers.choices import checked_choice

WeightSchedule = Literal["constant", "ramp", "cosine", "step"]
SCHEDULES = ("constant", "ramp", "cosine", "step")


@dataclass(frozen=True)
class ScheduledWeight:
    """weight f(t / steps), with t the optimizer's steps so far.

    Args:
      weight: at its height, 0 or more.
      schedule: f: `constant` 1; `ramp` from 0 linearly to 1; `cosine` from 1 down to 0, (1 + cos(pi t)) / 2;
        `step` 0 before `steps` and 1 after.
      steps: in which it changes; 0: at once.

    Raises:
      ValueError: a negative number, or no such schedule.
    """

    weight: float
    schedule: WeightSchedule = "constant"
    steps: int = 0

    def __post_init__(self) -> None:
        checked_choice("schedule", self.schedule, SCHEDULES)
        if self.weight < 0 or self.steps < 0:
            raise ValueError(f"weight is {self.weight}, steps {self.steps}; expected 0 or more; correct them")

    def at(self, step: Any) -> tf.Tensor:
        """The weight at a step, a scalar."""
        if self.schedule == "constant" or not self.steps:
            return tf.constant(0.0 if self.schedule == "cosine" else self.weight, tf.float32)
        done = tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)
        if self.schedule == "cosine":
            return self.weight * (1 + tf.cos(math.pi * done)) / 2
        return self.weight * (done if self.schedule == "ramp" else tf.floor(done))
