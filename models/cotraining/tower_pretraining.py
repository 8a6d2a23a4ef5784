"""Pretraining for CS3: the towers alone learn by a softmax over the catalogue before they learn online."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.cotraining.retrieval import check_towers, train_retrieval
from models.layers.arguments import checked_count
from models.options import Count
from models.retrieval.catalogue_softmax import RetrievalOptions
from models.retrieval.tower_model import TowerModel
from models.training.job import TrainingJob


@dataclass(frozen=True)
class PretrainOptions(RetrievalOptions):
    """The keys of `pretrain`: the options of the recipe `retrieval`, and how long it trains.

    Args:
      epochs: passes over the train split, in random order.
      patience: evaluations without a better recall before pretraining stops.
      learning_rate: None: that of the run.
      batch_size: None: that of the run.
    """

    epochs: Count = 10
    patience: Count = 2
    learning_rate: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None:
            checked_count("batch_size", self.batch_size)
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; expected more than 0, or null for the run's")


def pretrain_options(values: Mapping[str, Any]) -> PretrainOptions:
    """Returns the options in the mapping `pretrain` of a run file."""
    return PretrainOptions.checked("pretrain", values)


def pretrain_towers(job: TrainingJob, options: PretrainOptions, directory: Path) -> tuple[TowerModel, dict[str, Any]]:
    """Trains towers without caches, and returns them with what to report."""
    if job.retrieval is None:
        raise ValueError("pretrain is set and there is no catalogue; a stream has none: leave it out, or use train")
    plain: Any = job.build(job.seed, None)
    check_towers(plain)
    rate = job.settings.learning_rate if options.learning_rate is None else options.learning_rate
    settings = dataclasses.replace(
        job.settings,
        epochs=options.epochs,
        patience=options.patience,
        learning_rate=rate,
        decay_epochs=None,
        max_steps=None,
    )
    result, report = train_retrieval(job, plain, options, settings, directory, options.batch_size)
    best = {name.removeprefix("eval_"): value for name, value in result.best.items() if name.startswith("eval_")}
    return plain, {"epochs": result.best_epoch, "steps": result.steps, **best, **report}


def give_weights(cached: TowerModel, plain: TowerModel) -> None:
    """Gives towers with caches the weights of towers without.

    What they have besides, the weights of the cached vectors, becomes 0: at first both give the same vectors.

    Args:
      cached, plain: both built, otherwise of the same options.
    """
    for target, source in zip(_tables(cached), _tables(plain), strict=True):
        target.assign(tf.convert_to_tensor(source))
    sources, targets = _trained(plain), _trained(cached)
    for target, source in zip(targets, sources, strict=False):
        target.assign(_padded(source.numpy(), target.shape))
    for target in targets[len(sources) :]:
        target.assign(tf.zeros_like(target))


def _tables(towers: TowerModel) -> list[tf.Variable]:
    return [one for one in (towers.embeddings.table, towers.embeddings.number_vectors) if one is not None]


def _trained(towers: TowerModel) -> list[tf.Variable]:
    """Returns the weights besides tables, in the order of the layers; those of cached vectors alone come last."""
    tables = {id(one) for one in _tables(towers)}
    return [one for one in towers.trainable_weights if id(one) not in tables]


def _padded(values: np.ndarray, shape: Any) -> np.ndarray:
    """Returns values with zeros behind them, where the inputs of a layer have cached vectors at their end."""
    missing = [(0, int(size) - had) for size, had in zip(shape, values.shape, strict=True)]
    if any(after < 0 for _, after in missing):
        raise ValueError(
            f"a weight of towers with caches is {tuple(shape)}, without {values.shape}; expected it larger"
        )
    return np.pad(values, missing) if missing else values
