"""A recipe that trains nothing and keeps what it is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tensorflow as tf

from models.cotraining.base import Recipe, Trained
from models.training.fit import FitResult
from models.training.job import TrainingJob


@dataclass(frozen=True)
class Recording(Recipe):
    """Keeps the last job, its model, the strategy that it would be trained under, and its own options."""

    note: str = ""
    last: ClassVar[dict[str, Any]] = {}

    def row_widths(self, width: int) -> list[int]:
        return [width]

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        model = job.build(job.seed, None)
        model.embeddings.build(None)
        model.build_head()
        strategy = type(tf.distribute.get_strategy()).__name__
        with pytest.MonkeyPatch.context() as patch:
            # What a job hands to `fit`, in the place of a fit.
            patch.setattr("models.training.job.fit", lambda *_, **options: options)
            fit: Any = job.fit(model, directory, job.settings, job.seed)
        self.last.update(job=job, model=model, strategy=strategy, note=self.note, fit=fit)
        return Trained(model, FitResult(400, 1, 1, (), None, None, None, False))
