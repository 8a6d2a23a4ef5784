"""The recipe without a peer."""

from dataclasses import dataclass
from pathlib import Path

import tf_keras as keras

from models.cotraining.base import Recipe, Trained
from models.training.job import TrainingJob


@dataclass(frozen=True)
class Single(Recipe):
    """One model, fitted alone."""

    adds_linear_terms = True

    def row_widths(self, width: int) -> list[int]:
        return [width]

    def streamed(self, job: TrainingJob) -> keras.Model:
        return job.build(job.seed, None)

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        model = job.build(job.seed, None)
        return Trained(model, job.fit(model, directory, job.settings, job.seed))
