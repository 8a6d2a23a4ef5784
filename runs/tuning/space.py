"""Between a search's values and run files: what a trial trains, and what the best one leaves."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models.cotraining.external_inputs import RunFacts
from runs.building import recipe_of
from runs.config import RunConfig, with_values
from runs.external_inputs import checked_inputs
from runs.plan import check_model
from runs.tuning.config import Domain, Range, TuningConfig
from transforms.errors import InputError


def choices_of(domain: tuple[Any, ...]) -> list[Any]:
    """Choices as Keras Tuner takes them: numbers of one type in order, or text, which is then JSON."""
    if all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in domain):
        return list(domain) if all(isinstance(choice, int) for choice in domain) else [float(c) for c in domain]
    return [json.dumps(choice) for choice in domain]


def values_of(space: Mapping[str, Domain], sampled: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the run file and their values, from what Keras Tuner sampled."""
    return {key: _value(domain, sampled[key]) for key, domain in space.items() if key in sampled}


def _value(domain: Domain, sampled: Any) -> Any:
    if isinstance(domain, Range):
        # Six digits say enough, and are the same again where the last bits are not.
        number = sampled if domain.whole else float(f"{sampled:.6g}")
        # Keras Tuner may return one more than the greatest whole number of a logarithmic range.
        return min(max(number, domain.min), domain.max)
    return json.loads(sampled) if isinstance(sampled, str) else sampled


def trial_config(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """What one trial trains: the run with the search's budget and the trial's values."""
    limits = {"training.epochs": config.tuning.epochs, "training.max_steps": config.tuning.max_steps}
    budget = {key: limit for key, limit in limits.items() if limit is not None}
    return with_values(without_search(config), {**budget, **values}, "trial")


def without_search(config: RunConfig) -> RunConfig:
    """The run without its section `tuning`."""
    return config.model_copy(update={"tuning": TuningConfig()})


def trials_digest(config: RunConfig) -> str:
    """Sha256 of what all trials of a run share, whatever is searched, and however."""
    return trial_config(config, {}).digest()


def tuned(config: RunConfig, hyperparameters: Mapping[str, Any] | None) -> RunConfig:
    """The run with the values that the pipeline's Tuner found best.

    Args:
      config: the run, with the space that was searched.
      hyperparameters: the config of Keras Tuner's HyperParameters, as Trainer gets it; None changes nothing.
    """
    if hyperparameters is None:
        return config
    return with_values(config, values_of(config.tuning.space, hyperparameters["values"]), "best hyperparameters")


def check_search(run: RunFacts) -> None:
    """Looks whether there is something to search, and whether model and recipe take it; writes nothing.

    Raises:
      InputError: no key is searched, or nothing can be built with a value.
    """
    config = run.config
    if not config.tuning.space:
        example = "e.g. --set 'tuning.space.training.learning_rate={min: 0.0001, max: 0.1, log: true}'"
        raise InputError("tuning.space", "no key", "at least one key with its values", example)
    objective, recipe = config.tuning.objective, config.recipe.name
    if "catalogue_recall" in objective and recipe != "retrieval":
        expected = "recipe retrieval, which alone measures it in training"
        raise InputError("tuning.objective", f"{objective} with recipe {recipe}", expected, "use eval_logloss")
    for key, value in config.tuning.probes():
        # Options of models and recipes are only known to their classes; reading the run file checked the other keys.
        try:
            trial = trial_config(config, {key: value})
            check_model(trial, run.feature_set)
            if _input_arguments(trial) != _input_arguments(config):
                checked_inputs(replace(run, config=trial))
        except InputError as error:
            where, fix = f"tuning.space, {key} = {value}", f"correct tuning.space: {error.fix}"
            raise InputError(where, error.received, error.expected, fix) from error


def _input_arguments(config: RunConfig) -> list[tuple[type, dict[str, Any]]]:
    # Before `check`, an input holds the arguments of its constructor and nothing else.
    return [(type(one), vars(one)) for one in recipe_of(config).external_inputs()]
