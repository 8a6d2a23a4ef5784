"""The grid of CS3: what it holds, what it refuses, which cells it has."""

import pytest

from experiments.cs3.cells import Cell, cells_of
from experiments.cs3.grid import PARTS, CS3Grid, load_grid, narrowed
from experiments.cs3.methods import BACKBONES, FULL, METHODS, backbone_title, decay_method, method_of, title, tuned_as
from experiments.places import Place
from models.registry import MODELS
from transforms.errors import InputError

WORLD = {
    "users": 40, "items": 60, "candidates": 10, "min_candidates": 8, "pool_size": 20, "ranked_items": 6,
    "exposed_items": 3, "history_length": 5, "block_requests": 32,
}  # fmt: skip
TINY = {"name": "tiny", "world": WORLD, "requests": 60, "seeds": 1, "main": ["base"]}


def grid(**changes):
    return CS3Grid.model_validate({**TINY, **changes})


def names(found):
    return [cell.name for cell in cells_of(found)]


def test_the_grid_of_the_package_has_all_parts_five_seeds_and_at_least_two_backbones():
    found = load_grid("cs3_simulated")
    assert all(found.methods(part) for part in PARTS) and found.seeds == 5 and len(found.backbones) >= 2
    assert set(found.main) == set(METHODS) - {"leaky"} and set(found.order) == {"full", "leaky"}


def test_backbones_are_models_that_can_be_built_by_name():
    assert set(BACKBONES) <= set(MODELS)


def test_one_learning_rate_is_not_tuned_and_several_are_tried_before_the_cell_that_needs_them():
    assert names(grid()) == ["default-1-dssm-base"]
    tried = ["default-1001-dssm-base-lr_0.1", "default-1001-dssm-base-lr_0.01"]
    assert names(grid(learning_rates=[0.1, 0.01])) == [*tried, "default-1-dssm-base"]


def test_each_method_of_each_backbone_is_tuned_and_variants_of_cs3_take_its_rate():
    found = grid(main=["base"], backbones=["dssm", "dat"], order=["leaky"], decays=[0.5], learning_rates=[0.1, 0.01])
    tried = {cell.method for cell in cells_of(found) if cell.learning_rate}
    assert tried == {"dssm-base", "dat-base", "dssm-full"}
    assert {tuned_as(name) for name in ("leaky", "full_decay_0.5", "full")} == {"full"} and tuned_as("cts") == "cts"


def test_cells_that_two_parts_share_come_once_and_a_world_without_drift_is_a_place_of_its_own():
    drift = {"worlds": {"none": {"drift": 0.0}, "as_is": {}}, "methods": ["full"]}
    found = grid(main=["full"], order=["full"], decays=[0.8, 0.5], drift=drift)
    assert names(found) == ["default-1-dssm-full", "default-1-dssm-full_decay_0.5", "drift-none-1-dssm-full"]
    assert found.world_of("drift-none").drift == 0.0 and found.world_of("default").drift == 0.02


def test_methods_are_the_parts_that_their_names_say():
    for name, method in METHODS.items():
        parts = {"cas", "cts", "cms"} if name in ("full", "leaky") else set(name.split("_")) - {"base"}
        assert {part for part in ("cas", "cts", "cms") if getattr(method, part)} == parts
        assert method.leaky == (name == "leaky") and method.decay == 0.8
    assert decay_method(0.8) == FULL and method_of(decay_method(0.99)).decay == 0.99
    assert title("cas_cts") == "+CAS +CTS" and title("full_decay_0.5") == "CS3, α = β = 0.5"
    assert all(backbone_title(name) != name for name in BACKBONES)


def test_a_narrowed_grid_has_the_named_parts_methods_seeds_and_backbones():
    whole = load_grid("cs3_simulated")
    found = narrowed(whole, ("base", "full"), 2, ("main", "sensitivity"))
    assert found.main == ("base", "full") and found.order == () == found.drift.methods and found.seeds == 2
    assert found.decays == (0.8,) and found.backbones == whole.backbones
    other = narrowed(whole, backbones=("dat",))
    assert other.backbones == ("dat",) and other.main == whole.main
    assert {cell.backbone for cell in cells_of(other)} == {"dat"}


@pytest.mark.parametrize(
    ("changes", "near"),
    [({"methods": ("ful",)}, "'full'"), ({"parts": ("drft",)}, "'drift'"), ({"backbones": ("dsm",)}, "'dssm'")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(changes, near):
    with pytest.raises(InputError, match=f"did you mean {near}"):
        narrowed(load_grid("cs3_simulated"), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"tuning_seed": 1},
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


def test_the_name_of_a_tried_rate_differs_from_that_of_the_chosen_one():
    place = Place("default", 3)
    assert Cell(place, "dat", "cts").name == "default-3-dat-cts"
    assert Cell(place, "dat", "cts", 0.001).name == "default-3-dat-cts-lr_0.001"
