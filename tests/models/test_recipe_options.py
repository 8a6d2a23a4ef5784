"""Options of recipes reach what they train: each, changed alone, is an option of the group of models, or of its fit."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from models.cotraining.base import Recipe
from models.cotraining.cs3 import CS3Options, CS3Recipe
from models.cotraining.duet import DuetOptions, DuetRecipe
from models.cotraining.entire_space import EntireSpaceRecipe
from models.cotraining.mutual_learning import MutualLearningOptions, MutualLearningRecipe
from models.options import Options
from models.registry import build_model
from models.training.job import FitSettings, TrainingJob
from tests.helpers import model_batches, set_batches

_OTHER: dict[type[Options], dict[str, Any]] = {
    MutualLearningOptions: {"mutual_weight": 0.3, "loss": "logit_mse", "stop_gradient": False},
    DuetOptions: {
        "consistency_weight": 0.3,
        "consistency_schedule": "ramp",
        "consistency_steps": 7,
        "consistency_support": "unexposed",
        "average": "group_mean",
        "unexposed_weight": 0.4,
        "warmup_steps": 5,
        "label_temperature": 0.5,
        "by_confidence": True,
        "stage_weight": 0.2,
    },
    CS3Options: {
        "cts": False,
        "cms": False,
        "alpha": 0.1,
        "beta": 0.2,
        "user_feature": "user",
        "item_feature": "item",
        "leaky": True,
        "softmax_weight": 0.3,
        "temperature": 0.5,
    },
}
_RECIPES: dict[type[Options], tuple[type[Recipe], dict[str, Any]]] = {
    MutualLearningOptions: (MutualLearningRecipe, {"peers": 2, "from_scratch": True}),
    DuetOptions: (DuetRecipe, {}),
    CS3Options: (CS3Recipe, {"user_feature": "user", "item_feature": "item"}),
}


class _Fitted(Exception):
    pass


def _fitted(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, outputs: int = 1) -> tuple[Any, dict[str, Any]]:
    """The model and the arguments with which a recipe calls `fit` last; nothing is trained."""

    def fit(model: Any, *_: Any, **arguments: Any) -> None:
        raise _Fitted(model, arguments)

    def build(seed: int, name: str | None) -> Any:
        more = {"width": 4, "heads": 2, "outputs": outputs} if (name or default) == "set_ranker" else {}
        return build_model(name or default, inputs, sizes, embedding_dim=2, hidden_units=(4, 3), seed=seed, **more)

    def pretrained() -> Any:
        model = build(1, None)
        model.build_variables()
        return model

    is_cs3 = isinstance(recipe, CS3Recipe)
    inputs, sizes = (model_batches.ROW, model_batches.SIZES) if is_cs3 else (set_batches.INPUTS, set_batches.SIZES)
    default = "dssm" if is_cs3 else "set_ranker"
    monkeypatch.setattr("models.training.job.fit", fit)
    external = {"pretrained": [pretrained] * 2}
    job = TrainingJob(build, lambda seed, epoch: None, None, 4, FitSettings(), 3, external=external)
    with pytest.raises(_Fitted) as stopped:
        recipe.train(job, Path("none"))
    model, arguments = stopped.value.args
    return model, arguments


@pytest.mark.parametrize("declaration", _OTHER)
def test_every_option_has_another_value_to_try(declaration: type[Options]) -> None:
    assert {item.name for item in dataclasses.fields(declaration)} == set(_OTHER[declaration])


@pytest.mark.parametrize(
    ("declaration", "option"), [(declaration, name) for declaration, names in _OTHER.items() for name in names]
)
def test_an_option_reaches_the_models(declaration: type[Options], option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, needed = _RECIPES[declaration]
    value = _OTHER[declaration][option]
    group, _ = _fitted(recipe(**{**needed, option: value}), monkeypatch, outputs=3 if option == "stage_weight" else 1)
    assert getattr(group.options, option) == value != getattr(declaration(), option)


def test_an_option_of_a_method_reaches_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    group, _ = _fitted(EntireSpaceRecipe("ips", {"clip": 0.3}), monkeypatch)
    assert group.options.clip == 0.3


@pytest.mark.parametrize(("option", "value"), [("epochs", 3), ("learning_rate", 0.5), ("decay_epochs", 2.0)])
def test_finetuning_is_fitted_by_the_settings_of_the_recipe(
    option: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = MutualLearningRecipe(pretrained=("a", "b"), **{option: value})
    _, arguments = _fitted(recipe, monkeypatch)
    if option != "decay_epochs":
        assert arguments[option] == value
    else:
        # Four steps an epoch: after two epochs a tenth is left.
        assert float(arguments["learning_rate"](8)) == pytest.approx(1e-5)
