"""The grid of CS3: what it holds, what it refuses, which cells it has."""

import json
from pathlib import Path

import pytest

from consort.config import load_config
from experiments.cs3.cells import Cell, cells_of, measured_cells, tuning_cells
from experiments.cs3.grid import PARTS, CS3Grid
from experiments.cs3.methods import BACKBONES, FULL, METHODS, backbone_title, decay_method, method_of, title, tuned_as
from experiments.grid import Place, read_grid
from experiments.learning_rates import best_rate, neighbor, next_rate
from models.registry import MODELS
from tests.helpers.tiny_grids import WORLD
from transforms.errors import InputError

TINY = {"name": "tiny", "world": WORLD, "requests": 60, "seeds": 1, "main": ["base"]}


def grid(**changes):
    return CS3Grid.model_validate({**TINY, **changes})


NOWHERE = Path("no results")


def packaged(name):
    return read_grid(CS3Grid, name)


def names(example, root=NOWHERE):
    return [cell.name for cell in cells_of(example, root)]


def tried(root, losses, backbone="dssm", method="base"):
    """Results of tuning cells: eval log loss by rate, one a tuning seed."""
    for rate, values in losses.items():
        for seed, value in enumerate(values, 1001):
            file = root / "cells" / f"{Cell(Place('default', seed), backbone, method, rate).name}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"monitored": value}))


def test_the_grid_of_the_package_has_all_parts_five_seeds_and_at_least_two_backbones():
    example = packaged("cs3_simulated")
    assert all(example.methods(part) for part in PARTS) and example.seeds == 5 and len(example.backbones) >= 2
    shuffled = {"base_shuffled", "full_shuffled"}
    assert set(example.main) == set(METHODS) - {"leaky"} - shuffled and set(example.order) == {"full", "leaky"}
    assert set(example.shuffled) == shuffled


def test_backbones_are_models_that_can_be_built_by_name():
    assert set(BACKBONES) <= set(MODELS)


def test_one_learning_rate_is_not_tuned_and_of_several_each_is_tried_on_all_tuning_seeds():
    assert names(grid(learning_rates=[0.002])) == ["default-1-dssm-base-lr_0.002"]
    cell_names = names(grid(learning_rates=[0.01, 0.003], tuning_seeds=[1001, 1002]))
    assert cell_names == [f"default-{seed}-dssm-base-lr_{rate}" for rate in (0.003, 0.01) for seed in (1001, 1002)]


def test_each_method_of_each_backbone_is_tuned_and_variants_of_cs3_take_its_rate():
    example = grid(main=["base"], backbones=["dssm", "dat"], order=["leaky"], decays=[0.5], learning_rates=[0.1, 0.01])
    assert {cell.kind for cell in tuning_cells(example, NOWHERE)} == {"dssm-base", "dat-base", "dssm-full"}
    assert {tuned_as(name) for name in ("leaky", "full_decay_0.5", "full")} == {"full"} and tuned_as("cts") == "cts"


def test_the_rate_with_the_least_mean_loss_over_the_tuning_seeds_is_measured_once_all_are_tried(tmp_path):
    example = grid(learning_rates=[0.001, 0.003, 0.01], tuning_seeds=[1001, 1002])
    # By the first seed alone 0.01 would be chosen.
    tried(tmp_path, {0.001: [0.31, 0.30], 0.003: [0.29, 0.28], 0.01: [0.28]})
    assert measured_cells(example, tmp_path) == []
    tried(tmp_path, {0.01: [0.28, 0.32]})
    assert measured_cells(example, tmp_path) == [Cell(Place("default", 1), "dssm", "base", 0.003)]
    assert len(tuning_cells(example, tmp_path)) == 6


def test_a_rate_is_tried_beyond_an_end_that_was_best_until_the_best_lies_between_two_others(tmp_path):
    example = grid(learning_rates=[0.001, 0.003], tuning_seeds=[1001])
    for rates, loss in (([0.001, 0.003], 0.29), ([0.001, 0.003, 0.01], 0.28), ([0.001, 0.003, 0.01, 0.03], 0.30)):
        assert [cell.learning_rate for cell in tuning_cells(example, tmp_path)] == rates
        assert measured_cells(example, tmp_path) == []
        tried(tmp_path, {0.001: [0.31], rates[-1]: [loss]})
    assert [cell.learning_rate for cell in tuning_cells(example, tmp_path)] == [0.001, 0.003, 0.01, 0.03]
    assert [cell.learning_rate for cell in measured_cells(example, tmp_path)] == [0.01]


def test_a_step_beyond_a_rate_leads_along_the_series_of_one_and_three():
    assert [neighbor(0.001, True), neighbor(0.003, True), neighbor(0.002, True)] == [0.003, 0.01, 0.003]
    assert [neighbor(0.001, False), neighbor(0.003, False), neighbor(0.01, False)] == [0.0003, 0.001, 0.003]
    assert next_rate({0.001: [0.2], 0.003: [0.1], 0.01: [0.3]}) is None
    assert next_rate({0.001: [0.1], 0.003: [0.2]}) == 0.0003 and next_rate({0.1: [0.1], 0.01: [0.2]}) is None
    assert best_rate({0.01: [0.1, 0.3], 0.001: [0.25, 0.15]}) == 0.001


def test_methods_of_the_main_part_are_trained_at_the_equal_rate_too_and_once_if_that_is_their_own():
    example = grid(main=["base"], order=["full"], learning_rates=[0.003], equal_rate=0.001)
    assert names(example) == [f"default-1-dssm-{own}" for own in ("base-lr_0.003", "base-lr_0.001", "full-lr_0.003")]
    assert names(grid(equal_rate=0.001)) == ["default-1-dssm-base-lr_0.001"]


def test_cells_that_two_parts_share_come_once_and_a_world_without_drift_is_a_place_of_its_own():
    drift = {"worlds": {"none": {"drift": 0.0}, "as_is": {}}, "methods": ["full"]}
    example = grid(main=["full"], order=["full"], decays=[0.8, 0.5], drift=drift)
    methods = ["default-1-dssm-full", "default-1-dssm-full_decay_0.5", "drift-none-1-dssm-full"]
    assert names(example) == [f"{own}-lr_0.001" for own in methods]
    assert example.world_of("drift-none").drift == 0.0 and example.world_of("default").drift == 0.02


def test_methods_are_the_parts_that_their_names_say():
    for name, method in METHODS.items():
        words = set(name.split("_"))
        parts = {"cas", "cts", "cms"} if words & {"full", "leaky"} else words - {"base", "shuffled"}
        assert {part for part in ("cas", "cts", "cms") if getattr(method, part)} == parts
        assert method.leaky == (name == "leaky") and method.shuffled == ("shuffled" in words) and method.decay == 0.8
    assert decay_method(0.8) == FULL and method_of(decay_method(0.99)).decay == 0.99
    assert title("cas_cts") == "+CAS +CTS" and title("full_decay_0.5") == "CS3, α = β = 0.5"
    assert all(backbone_title(name) != name for name in BACKBONES)


def test_a_narrowed_grid_has_the_named_parts_methods_seeds_and_backbones():
    complete = packaged("cs3_simulated")
    narrowed = complete.narrowed(("base", "full"), 2, ("main", "sensitivity"))
    assert narrowed.main == ("base", "full") and narrowed.order == () == narrowed.drift.methods and narrowed.seeds == 2
    assert narrowed.decays == (0.8,) and narrowed.backbones == complete.backbones
    other = complete.narrowed(backbones=("dat",))
    assert other.backbones == ("dat",) and other.main == complete.main
    assert {cell.backbone for cell in cells_of(other, NOWHERE)} == {"dat"}


@pytest.mark.parametrize(
    ("changes", "near"),
    [({"methods": ("ful",)}, "'full'"), ({"parts": ("drft",)}, "'drift'"), ({"backbones": ("dsm",)}, "'dssm'")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(changes, near):
    with pytest.raises(InputError, match=f"did you mean {near}"):
        packaged("cs3_simulated").narrowed(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"tuning_seeds": [1001, 1]},
        {"tuning_seeds": []},
        {"tuning_seed": 1},
        {"tuning_seed": 1001, "tuning_seeds": [1001]},
        {"equal_rate": 0.0},
        {"softmax_weight": 0.1, "backbones": ["dssm", "int_tower"]},
        {"cut_off": 0},
        {"source": "movielens"},
        {"requests": None},
        {"rows": 100},
        {"decays": [1.5]},
        {"noise": [0.0]},
        {"hidden_units": [8]},
        {"drift": {"worlds": {"odd": {"drift": 1.0}}, "methods": ["base"]}},
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(changes):
    with pytest.raises(ValueError):
        grid(**changes)


@pytest.mark.parametrize("changes", [{"main": ["bas"]}, {"backbones": ["dssmm"]}, {"order": ["leak"]}])
def test_what_a_grid_names_must_be_known(changes):
    with pytest.raises(ValueError, match="did you mean"):
        grid(**changes)


def test_the_extent_of_a_grid_is_no_part_of_its_identity_and_its_settings_are():
    assert grid().identity() == grid(main=["full"], seeds=3, decays=[0.5]).identity()
    assert grid().identity() != grid(batch_size=32).identity()


def test_a_cell_is_named_by_its_place_its_method_and_its_rate():
    assert Cell(Place("default", 3), "dat", "cts", 0.001).name == "default-3-dat-cts-lr_0.001"


def test_the_one_tuning_seed_of_earlier_results_is_read():
    assert grid(tuning_seed=77).tuning_seeds == (77,) and grid().tuning_seeds == (1001,)


def test_the_grids_of_the_package_tune_on_three_seeds_over_three_rates_and_compare_at_one():
    for name in ("cs3_simulated", "cs3_ebnerd"):
        example = packaged(name)
        assert (
            len(example.tuning_seeds) >= 3 <= len(example.learning_rates)
            and example.equal_rate in example.learning_rates
        )


def test_the_grid_of_movielens_has_the_settings_of_its_preset():
    preset = load_config("movielens_cs3")
    example = packaged("cs3_movielens")
    assert (preset.model.name, preset.model.embedding_dim) == (example.studied, example.embedding_dim)
    assert tuple(preset.model.hidden_units) == example.hidden_units
    training, options = preset.training, preset.recipe.options
    assert (training.batch_size, training.learning_rate) == (example.batch_size, example.learning_rates[0])
    assert options["softmax_weight"] == example.softmax_weight and options["alpha"] == options["beta"]
    assert options["alpha"] in example.decays and example.cut_off == 100
