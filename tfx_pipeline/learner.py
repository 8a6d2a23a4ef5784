"""What learns from a stream, built from the run file and the sizes of its tables alone."""

from collections.abc import Mapping
from typing import Any

import tf_keras as keras

from consort.config import RunConfig
from models.cotraining.base import Recipe
from models.layers.vector_store import StoreContent
from models.training.job import FitSettings, TrainingJob
from tfx_pipeline.training import model_of
from transforms.errors import InputError
from transforms.features import FeatureSet
from transforms.vocabularies import written_ids


def learner_of(
    config: RunConfig,
    recipe: Recipe,
    feature_set: FeatureSet,
    sizes: dict[str, int],
    base_rate: float | None = None,
    carried: Mapping[str, StoreContent] | None = None,
    teacher_width: int = 0,
) -> keras.Model:
    """The model of a run on a stream, its weights a function of the seed.

    Args:
      config: the run.
      recipe: its way to train.
      feature_set: the declaration, with the config's changes applied.
      sizes: ids of each space.
      base_rate: share of clicks that it begins with; None: a half.
      carried: what its stores begin with, by name; None: zeros.
      teacher_width: of its teacher's last hidden layer; 0: it has none.
    """
    job = TrainingJob(
        build=lambda seed, name: model_of(config, feature_set, sizes, seed, name),
        train_dataset=_nothing,
        eval_dataset=None,
        steps_per_epoch=0,
        settings=FitSettings(learning_rate=config.training.learning_rate),
        seed=config.seed,
        load=_nothing,
        written_ids=written_ids(feature_set, sizes),
        base_rate=base_rate,
        carried=carried or {},
        teacher_width=teacher_width,
    )
    return recipe.streamed(job)


def _nothing(*_: Any) -> Any:
    raise InputError("recipe", "one that reads data by itself", "one that learns from a stream", "choose cs3 or single")
