"""The grid of DUET: what it holds, what it refuses, which cells it has."""

import json

import pytest

from experiments.duet.grid import PARTS, Cell, DuetGrid, cells_of
from experiments.duet.methods import METHODS, TITLES, method_of
from experiments.grid import Place, read_grid
from experiments.runner import chosen_rate
from tests.helpers.tiny_grids import WORLD
from transforms.errors import InputError

TINY = {"name": "tiny", "world": WORLD, "requests": 60, "seeds": 1, "main": ["two_tower"]}


def grid(**changes):
    return DuetGrid.model_validate({**TINY, **changes})


def names(example):
    return [cell.name for cell in cells_of(example)]


def test_the_grid_of_the_package_has_all_parts_and_every_row_a_title():
    example = read_grid(DuetGrid, "duet_simulated")
    assert all(example.methods(part) for part in PARTS) and example.seeds == 5
    assert all(row in TITLES or row.startswith("duet_lambda_") for row in example.all_methods())
    assert set(METHODS) <= set(TITLES)


def test_one_learning_rate_is_not_tuned_and_several_are_tried_before_the_cell_that_needs_them():
    assert names(grid()) == ["default-1-two_tower"]
    tried = ["default-1001-two_tower-lr_0.1", "default-1001-two_tower-lr_0.01"]
    assert names(grid(learning_rates=[0.1, 0.01])) == [*tried, "default-1-two_tower"]


def test_several_tuning_seeds_choose_a_rate_by_their_mean(tmp_path):
    example = grid(learning_rates=[0.1, 0.01], tuning_seeds=[1001, 1002])
    *tried, chosen = cells_of(example)
    losses: dict[tuple[int, float | None], float] = {
        (1001, 0.1): 0.2,
        (1001, 0.01): 0.3,
        (1002, 0.1): 0.5,
        (1002, 0.01): 0.3,
    }
    assert {(cell.place.seed, cell.learning_rate) for cell in tried} == set(losses)
    (tmp_path / "cells").mkdir()
    for cell in tried:
        result = {"learning_rate": cell.learning_rate, "monitored": losses[cell.place.seed, cell.learning_rate]}
        (tmp_path / "cells" / f"{cell.name}.json").write_text(json.dumps(result))
    # By the first seed alone it would be 0.1.
    assert chosen_rate(chosen, example, tmp_path) == 0.01


def test_variants_of_duet_take_its_learning_rate():
    example = grid(main=["duet_no_kl"], learning_rates=[0.1, 0.01])
    assert [cell.method for cell in cells_of(example)] == ["duet", "duet", "duet_no_kl"]


def test_rows_of_one_run_are_one_cell_and_the_default_world_of_a_study_is_that_of_the_main_table():
    study = {"worlds": {"none": {"popularity_bias": 0.0}, "as_is": {}}, "methods": ["duet"]}
    example = grid(main=["duet", "duet_ensemble"], lambdas=[0.1, 0.2], bias=study)
    assert names(example) == ["default-1-duet", "default-1-duet_lambda_0.2", "bias-none-1-duet"]
    assert example.world_of("bias-none").popularity_bias == 0.0 and example.world_of("default").popularity_bias == 1.0


def test_lambda_of_a_name_is_the_weight_of_the_consistency():
    assert (method_of("duet_lambda_0.2").pair or {})["consistency_weight"] == 0.2


def test_a_narrowed_grid_has_the_named_parts_methods_and_seeds():
    complete = read_grid(DuetGrid, "duet_simulated")
    narrowed = complete.narrowed(("duet", "single"), 2, ("main", "bias"))
    assert narrowed.methods("main") == ("single", "duet") == narrowed.methods("bias")[:2]
    assert narrowed.methods("ablations") == () == narrowed.methods("lambda") and narrowed.seeds == 2


@pytest.mark.parametrize(("changes", "near"), [({"methods": ("dueet",)}, "'duet'"), ({"parts": ("mian",)}, "'main'")])
def test_an_unknown_method_or_part_is_refused_with_the_nearest_name(changes, near):
    with pytest.raises(InputError, match=f"did you mean {near}"):
        read_grid(DuetGrid, "duet_simulated").narrowed(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"tuning_seed": 1},
        {"source": "jester"},
        {"requests": None},
        {"bias": {"worlds": {"odd": {"popularity_bias": -1.0}}, "methods": ["duet"]}},
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(changes):
    with pytest.raises(ValueError):
        grid(**changes)


def test_a_method_that_a_grid_names_must_be_known():
    with pytest.raises(ValueError, match="did you mean 'two_tower'"):
        grid(main=["two_towers"])


def test_the_name_of_a_tried_rate_differs_from_that_of_the_chosen_one():
    place = Place("default", 3)
    assert Cell(place, "ips").name == "default-3-ips" and Cell(place, "ips", 0.001).name == "default-3-ips-lr_0.001"
