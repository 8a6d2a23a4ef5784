"""World files of click logs: defaults, controls, and refusals that say what to do."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from simulation.parameters import (
    Category,
    ClickLogParameters,
    World,
    click_worlds,
    load_any_world,
    load_click_world,
    worlds,
)
from transforms.errors import InputError


def written(folder: Path, text: str) -> Path:
    path = folder / "world.yaml"
    path.write_text(text)
    return path


def test_the_default_file_states_every_parameter_with_its_default() -> None:
    values = yaml.safe_load(click_worlds()["ctr"].read_text())
    assert values.pop("kind") == "ctr"
    assert values == ClickLogParameters().model_dump(mode="json")
    assert load_click_world(None) == ClickLogParameters()


def test_the_control_differs_in_its_strengths_alone() -> None:
    assert sorted(click_worlds()) == ["ctr", "ctr_no_interactions"]
    control = load_click_world("ctr_no_interactions")
    assert (control.second_order, control.third_order) == (0, 0)
    strengths = {"first_order": 1.25, "second_order": 0.7, "third_order": 0.25}
    assert control.model_copy(update=strengths) == ClickLogParameters()


def test_the_default_world_has_16_categories_from_ten_ids_to_more_than_a_hundred_thousand() -> None:
    sizes = [category.ids for category in ClickLogParameters().categories]
    assert len(sizes) == 16
    assert (min(sizes), max(sizes)) == (10, 120_000)
    assert len(ClickLogParameters().numbers) == 4


def test_keys_that_a_file_leaves_out_keep_their_defaults(tmp_path: Path) -> None:
    found = load_click_world(written(tmp_path, "kind: ctr\nclick_rate: 0.1\nnumbers: []\n"))
    assert found == ClickLogParameters(click_rate=0.1, numbers=())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("click_rat: 0.1", "key 'click_rat': received an unknown key.*did you mean 'click_rate'"),
        ("click_rate: 1.0", "key 'click_rate': received 1.0"),
        ("first_order: -1", "key 'first_order': received -1"),
        ("first_order: .nan", "key 'first_order': received nan"),
        ("categories: [{name: c01, ids: 1}]", "key 'categories.0.ids': received 1"),
        ("categories: [{name: 'C 1', ids: 5}]", "key 'categories.0.name': received 'C 1'"),
        ("categories: [{name: c01, size: 5}]", r"key 'categories.0"),
        ("categories: []", "key 'categories': received"),
        ("numbers: [n1, n1]", "fields that do not fit.*the field 'n1' twice"),
        ("numbers: [c01]", "the field 'c01' twice"),
        ("numbers: [label]", "the field 'label' is a column that every row has"),
        ("numbers: [true_click_probability]", "is a column that every row has"),
        ("pairs: [[c01, c99]]", r"\['c01', 'c99'\] should be different fields among the categories"),
        ("pairs: [[c01, n1]]", "among the categories"),
        ("pairs: [[c01, c01]]", "different fields"),
        ("pairs: [[c01, c02], [c02, c01]]", "named once"),
        ("triples: [[c01, c02]]", "key 'triples.0.2': received"),
        ("pairs: []", "no pairs to share a strength of 0.7"),
        ("triples: []", "no triples to share a strength of 0.25"),
        ("- a list", "text that is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_key_value_and_fix(tmp_path: Path, text: str, message: str) -> None:
    for load in (load_click_world, load_any_world):
        with pytest.raises(InputError, match=message) as refused:
            load(written(tmp_path, f"kind: ctr\n{text}\n"))
        assert "world.yaml" in refused.value.where


def test_pairs_may_be_left_out_where_they_have_no_strength(tmp_path: Path) -> None:
    text = "kind: ctr\npairs: []\nsecond_order: 0\ntriples: []\nthird_order: 0\n"
    assert load_click_world(written(tmp_path, text)).pairs == ()


def test_the_kind_of_a_world_is_read_from_its_file(tmp_path: Path) -> None:
    assert load_any_world(None) == World()
    assert load_any_world("no_bias") == World(popularity_bias=0)
    assert load_any_world("ctr") == ClickLogParameters()
    assert load_any_world(written(tmp_path, "users: 7")) == World(users=7)
    assert load_any_world(written(tmp_path, "kind: cascade\nusers: 7")) == World(users=7)
    assert load_any_world(written(tmp_path, "kind: ctr\ndays: 3")) == ClickLogParameters(days=3)
    assert not set(worlds()) & set(click_worlds())


def test_another_kind_or_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"key 'kind': received 'cascde'.*did you mean 'cascade'"):
        load_any_world(written(tmp_path, "kind: cascde"))
    with pytest.raises(InputError, match="key 'kind': received None; expected 'ctr'"):
        load_click_world(written(tmp_path, "click_rate: 0.1"))
    with pytest.raises(InputError, match="did you mean 'ctr_no_interactions'"):
        load_any_world("ctr_no_interaction")


def test_parameters_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(ClickLogParameters(), "days", 3.0)  # noqa: B010
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Category(name="a", ids=3), "ids", 4)  # noqa: B010
