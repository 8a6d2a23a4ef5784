"""From a run file to its recipe and its models."""

from collections.abc import Mapping
from typing import Any

import tf_keras as keras

from models.cotraining.base import Recipe, build_recipe
from models.registry import REGISTRY, build_model
from models.training.compiling import precision
from models.training.job import FitSettings, TrainingJob
from runs.config import RunConfig, TrainingConfig
from transforms.errors import InputError
from transforms.features import FeatureSet
from transforms.validation import as_input_error
from transforms.vocabularies import in_vocabulary_ids


def recipe_of(config: RunConfig) -> Recipe:
    """Builds the recipe of a run file.

    Raises:
      InputError: no such recipe, or options that it does not take.
    """
    try:
        return build_recipe(config.recipe.name, **config.recipe.options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        fix = "correct the section recipe of the run file; see `consort config show`"
        raise as_input_error(error, "recipe", "a recipe and its options", fix) from error


def model_of(
    config: RunConfig,
    feature_set: FeatureSet,
    sizes: dict[str, int],
    seed: int | None = None,
    name: str | None = None,
    linear_terms: bool = False,
) -> keras.Model:
    """Builds the model of a run file, its weights a function of the seed.

    Args:
      config: the run.
      feature_set: the declaration.
      sizes: ids of each vocabulary.
      seed: None: the config's.
      name: of another class, a peer's, which then takes no `model.options`; None: the config's.
      linear_terms: a model with one logit gets linear terms, if it can and the run file does not say.
    """
    seed = config.seed if seed is None else seed
    keras.utils.set_random_seed(seed)
    model, training = config.model, config.training
    options = model.options if name in (None, model.name) else {}
    linear = {"linear_terms": True} if linear_terms and _lacks_linear(name or model.name, options) else {}
    # `make_plan` resolves `auto`; what is built without a plan, such as a stream's model, is float32.
    with precision("float32" if training.precision == "auto" else training.precision):
        return build_model(
            name or model.name,
            feature_set.model_inputs(config.record),
            sizes,
            embedding_dim=model.embedding_dim,
            hidden_units=model.hidden_units,
            dropout=model.dropout,
            batch_norm=model.batch_norm,
            embedding_l2=training.embedding_l2,
            seed=seed,
            **_unless_default(training, "l2_scope", "jit_compile"),
            **{**linear, **options},
        )


def _lacks_linear(name: str, options: Mapping[str, Any]) -> bool:
    """Returns True if a model has no linear terms by default, and can have some for its only logit."""
    model_class: Any = REGISTRY.find(name, keras.Model)
    can_have = getattr(model_class, "takes_linear", False) and not model_class.uses_linear
    return bool(can_have) and options.get("outputs", 1) == 1


def _unless_default(section: TrainingConfig, *names: str) -> dict[str, Any]:
    # A custom model need not take an argument that no run file sets.
    values = {name: getattr(section, name) for name in names}
    return {name: value for name, value in values.items() if value != TrainingConfig.model_fields[name].default}


def streaming_model_of(
    config: RunConfig,
    recipe: Recipe,
    feature_set: FeatureSet,
    sizes: dict[str, int],
    base_rate: float | None = None,
    external: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Builds what a recipe trains on a stream, its weights a function of the seed.

    Args:
      config: the run.
      recipe: its way to train.
      feature_set: the declaration, with the config's changes applied.
      sizes: ids of each vocabulary.
      base_rate: share of clicks that it begins with; None: a half.
      external: what its external inputs gave, by option.
    """
    job = TrainingJob(
        build=lambda seed, name: model_of(config, feature_set, sizes, seed, name),
        train_dataset=_no_data,
        eval_dataset=None,
        steps_per_epoch=0,
        settings=FitSettings(learning_rate=config.training.learning_rate),
        seed=config.seed,
        in_vocabulary_ids=in_vocabulary_ids(feature_set, sizes),
        base_rate=base_rate,
        external=external or {},
    )
    return recipe.streamed(job)


def _no_data(*_: Any) -> Any:
    raise InputError("recipe", "one that reads data by itself", "one that learns from a stream", "choose cs3 or single")
