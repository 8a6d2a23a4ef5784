"""What a run does with the external inputs of its recipe, whichever they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.cotraining.external_inputs import ExternalInput, RunFacts
from runs.building import recipe_of
from transforms.errors import InputError

_KEYS_OF_A_RUN = ("dataset_sha256", "config_sha256", "code_sha256")


def checked_inputs(run: RunFacts, from_stream: bool = False) -> tuple[ExternalInput, ...]:
    """Returns the external inputs of a run's recipe, each of which fits the run; writes nothing.

    Args:
      run: what they may know of it.
      from_stream: True for `consort online`, which adds features to rows for every recipe.

    Raises:
      InputError: one of them is not there, does not fit, or adds features to rows that the recipe does not read.
      ValueError: two of them have the same `identity_key`, or it is not a key that tells runs apart.
    """
    recipe = recipe_of(run.config)
    inputs = tuple(recipe.external_inputs())
    keys = [one.identity_key for one in inputs]
    for key in keys:
        if not key.endswith("_sha256") or key in _KEYS_OF_A_RUN or keys.count(key) > 1:
            raise ValueError(
                f"identity_key {key!r} of an external input of recipe {run.config.recipe.name!r}; expected an unused "
                f"key that ends in _sha256, none of {', '.join(_KEYS_OF_A_RUN)}; rename it in the input's class"
            )
    for one in inputs:
        one.check(run)
        if not (recipe.from_raw_rows or from_stream) and one.row_features(run) is not None:
            raise InputError(
                f"recipe.options.{one.option}",
                f"features of rows, for recipe {run.config.recipe.name!r}, which trains on transformed records",
                "a recipe that trains in the order of time, for which rows are transformed as they are read",
                "set in_time_order in the class of the recipe, or let row_features return None",
            )
    return inputs


def identities(inputs: Sequence[ExternalInput]) -> dict[str, str]:
    """Returns the hash of each external input, by its key in `run.json`; part of every cache key."""
    return {one.identity_key: one.identity() for one in inputs}


def reports(inputs: Sequence[ExternalInput]) -> dict[str, Any]:
    """Returns what is known of external inputs, by option, for `run.json`, section `recipe`."""
    known = {one.option: one.report() for one in inputs}
    return {option: report for option, report in known.items() if report is not None}


def load_inputs(
    inputs: Sequence[ExternalInput], run: RunFacts, transform: Any, recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """Loads external inputs, by option.

    Args:
      inputs: of `checked_inputs`.
      run: what they were checked for.
      transform: the learned transform.
      recorded: of `run.json`; an identity that stands there must still be the same.

    Raises:
      InputError: one of them has changed since it was recorded.
    """
    for one in inputs:
        before = recorded.get(one.identity_key)
        now = before and one.identity()
        if before != now:
            fix = "leave it as it is while a run works, and begin again in a new folder"
            raise InputError(f"recipe.options.{one.option}", f"{one.identity_key} {now}", f"{before}, as before", fix)
    return {one.option: one.load(run, transform) for one in inputs}
