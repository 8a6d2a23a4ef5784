"""Options are declared once: constructor, checks, configuration, signature and table come from the declaration."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import tf_keras as keras

from models.cotraining.base import RECIPES, build_recipe
from models.cotraining.duet import Duet, DuetOptions
from models.options import Count, Options, meanings, options_table, parameters_of
from models.ranking.dcn import DCN, DCNOptions
from models.registry import MODELS, REGISTRY
from models.table_model import ModelOptions
from tests.helpers.model_batches import ROW, SIZES


@dataclass(frozen=True)
class _First(Options):
    """Options of a thing.

    Args:
      kind: which one; `|x|` is
        the norm.
      low, high: the borders.
    """

    kind: Literal["plain", "fancy"] = "plain"
    low: float = 0.0
    high: float | None = None


@dataclass(frozen=True)
class _Second(_First):
    """More options.

    Args:
      low: another border.
      sides: some of both.

    Raises:
      ValueError: never.
    """

    count: Count = 1
    sides: Sequence[Literal["left", "right"]] = ()
    extra: Mapping[str, int] = field(default_factory=dict)


def test_a_table_has_name_type_default_and_meaning() -> None:
    assert options_table(_Second).splitlines() == [
        "| option | type | default | meaning |",
        "|---|---|---|---|",
        r"| `kind` | `plain`, `fancy` | `plain` | which one; `\|x\|` is the norm. |",
        "| `low` | float | `0.0` | another border. |",
        "| `high` | float or null | `null` | the borders. |",
        "| `count` | int, at least 1 | `1` |  |",
        "| `sides` | list of `left`, `right` | `[]` | some of both. |",
        "| `extra` | mapping | `{}` |  |",
    ]
    assert "`low`" not in options_table(_Second, beyond=_First)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"knd": "plain"}, "thing has no option 'knd'; expected one of .*; did you mean 'kind'"),
        ({"kind": "fancier"}, "kind is 'fancier'; expected one of plain, fancy; did you mean 'fancy'"),
        ({"count": 0}, "count is 0; expected a whole number of at least 1"),
        ({"sides": ["left", "write"]}, "sides is 'write'; expected one of left, right"),
    ],
)
def test_wrong_names_and_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _Second.checked("thing", values)


def test_lists_become_tuples_and_go_back_into_a_configuration() -> None:
    options = _Second(sides=["right"])
    assert options.sides == ("right",) and options.to_config()["sides"] == ["right"]
    assert options.values(_First) == {"kind": "plain", "low": 0.0, "high": None}


@pytest.mark.parametrize("name", list(MODELS))
def test_every_option_of_a_model_has_a_meaning_and_is_in_its_signature(name: str) -> None:
    model_class: Any = REGISTRY.find(name, keras.Model)
    declaration = model_class.options_class
    names = list(declaration.__dataclass_fields__)
    assert set(names) == set(meanings(declaration)) and issubclass(declaration, ModelOptions)
    shown = inspect.signature(model_class).parameters
    assert list(shown)[:2] == ["inputs", "table_sizes"] and set(names) <= set(shown)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_option_of_a_recipe_has_a_meaning(name: str) -> None:
    recipe = build_recipe(name)
    assert set(recipe.values()) == set(meanings(type(recipe)))


def test_a_model_keeps_its_options_and_writes_them_into_its_configuration() -> None:
    model = DCN(ROW, SIZES, embedding_dim=2, hidden_units=[3], cross="v2", name="mine")
    assert model.options == DCNOptions(embedding_dim=2, hidden_units=(3,), cross="v2") and model.name == "mine"
    config = model.get_config()
    assert (config["hidden_units"], config["cross"], config["name"]) == ([3], "v2", "mine")
    assert DCN.from_config(config).options == model.options
    with pytest.raises(ValueError, match="DCN has no option 'structur'; expected one of .*; did you mean 'structure'"):
        DCN(ROW, SIZES, structur="stacked")


def test_a_model_and_its_recipe_share_a_declaration() -> None:
    recipe = build_recipe("duet", average="group_mean", models=["set_ranker", "cold"])
    assert isinstance(recipe, DuetOptions) and Duet.options_class is DuetOptions
    assert recipe.values(DuetOptions)["average"] == "group_mean" and "models" not in recipe.values(DuetOptions)


class _Custom(DCN):
    def __init__(self, inputs: Any, table_sizes: Any, *, depth: int, **options: Any):
        super().__init__(inputs, table_sizes, **options)
        self.depth = depth


class _Closed(DCN):
    def __init__(self, inputs: Any, table_sizes: Any, width: int = 3):
        super().__init__(inputs, table_sizes, embedding_dim=width)


def test_a_plain_constructor_adds_to_the_options_or_hides_them() -> None:
    root = DCN.__mro__[-1]
    assert {"depth", "cross", "embedding_dim"} <= set(inspect.signature(_Custom).parameters)
    assert list(parameters_of(_Closed, root)) == ["inputs", "table_sizes", "width"]
    assert _Custom(ROW, SIZES, depth=2, embedding_dim=2).options.embedding_dim == 2
    assert _Closed(ROW, SIZES).options.embedding_dim == 3
