"""Small set rankers in pairs, and labels of `set_batch`."""

from typing import Any

import numpy as np
import tf_keras as keras

from models.cotraining.duet import Duet
from models.preranking.set_ranker import SetRanker
from models.training.compiling import compile_model
from tests.helpers.set_batches import INPUTS, SIZES, set_batch

SHOWN = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32)
CLICKED = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32)


def ranker(seed: int = 1, **options: Any) -> SetRanker:
    """Of a few units."""
    own = {"embedding_dim": 2, "hidden_units": (6, 5), "width": 4, "heads": 2, "seed": seed, **options}
    return SetRanker(INPUTS, SIZES, **own)


def pair(**options: Any) -> Duet:
    """Two models."""
    return Duet([ranker(1), ranker(2)], **options)


def two_heads(**options: Any) -> Duet:
    """On a shared backbone."""
    return Duet([ranker(outputs=2)], **options)


def compiled(model: keras.Model, learning_rate: float = 0.05) -> Any:
    """For a few steps, which compiling would make slower."""
    compile_model(model, learning_rate)
    model.run_eagerly = True
    return model


def train_step(model: keras.Model) -> dict[str, float]:
    """One step on `set_batch`; gives the logs."""
    logs: dict[str, float] = model.train_on_batch(set_batch(), CLICKED, SHOWN, return_dict=True)
    return logs
