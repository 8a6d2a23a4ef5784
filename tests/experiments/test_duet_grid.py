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


def test_the_grids_of_the_package_have_all_parts_and_every_row_a_title():
    small, large = read_grid(DuetGrid, "duet_simulated"), read_grid(DuetGrid, "duet_large")
    assert all(small.methods(part) or large.methods(part) for part in PARTS) and (small.seeds, large.seeds) == (5, 3)
    rows = (*small.all_methods(), *large.all_methods())
    assert all(row in TITLES or row.startswith("duet_lambda_") for row in rows)
    assert set(METHODS) <= set(TITLES)


def tried(folder, losses, method="two_tower"):
    """Writes results of rates that were tried, `{rate: loss of each tuning seed from 1001 on}`."""
    (folder / "cells").mkdir(exist_ok=True)
    for rate, values in losses.items():
        for seed, loss in enumerate(values, 1001):
            result = {"learning_rate": rate, "monitored": loss}
            (folder / "cells" / f"default-{seed}-{method}-lr_{rate:g}.json").write_text(json.dumps(result))


def test_one_learning_rate_is_not_tuned_and_several_are_tried_before_the_cell_that_needs_them(tmp_path):
    assert names(grid()) == ["default-1-two_tower"]
    example, tries = grid(learning_rates=[0.003, 0.01]), ["default-1001-two_tower-lr_0.003"]
    tries.append("default-1001-two_tower-lr_0.01")
    assert names(example) == tries
    # The best is the greatest, so the next greater one is tried before the method is measured.
    tried(tmp_path, {0.003: [0.3], 0.01: [0.2]})
    tries.append("default-1001-two_tower-lr_0.03")
    assert [cell.name for cell in cells_of(example, tmp_path)] == tries
    tried(tmp_path, {0.03: [0.3]})
    *before, measured = cells_of(example, tmp_path)
    assert [cell.name for cell in before] == tries and measured.name == "default-1-two_tower"
    assert measured.needs(example) == before and chosen_rate(measured, example, tmp_path) == 0.01


def test_several_tuning_seeds_choose_a_rate_by_their_mean(tmp_path):
    example = grid(learning_rates=[0.003, 0.01, 0.03], tuning_seeds=[1001, 1002])
    # By the first seed alone it would be 0.03.
    tried(tmp_path, {0.03: [0.2, 0.5], 0.01: [0.3, 0.3], 0.003: [0.4, 0.4]})
    *_, chosen = cells_of(example, tmp_path)
    assert chosen_rate(chosen, example, tmp_path) == 0.01


def test_variants_of_duet_take_its_learning_rate(tmp_path):
    example = grid(main=["duet_no_kl"], learning_rates=[0.003, 0.01, 0.03])
    tried(tmp_path, {0.003: [0.3], 0.01: [0.2], 0.03: [0.3]}, "duet")
    assert [cell.method for cell in cells_of(example, tmp_path)] == ["duet", "duet", "duet", "duet_no_kl"]


def test_a_learning_curve_has_logs_of_several_sizes_and_their_epochs_make_the_same_number_of_steps_at_most():
    sizes = {"worlds": {"20": {"requests": 20}, "60": {}}, "methods": ["duet"]}
    strong = {"worlds": {"strong": {"set_effect": 6.0}}, "methods": ["duet"]}
    curve = {"worlds": {"20": {"requests": 20, "set_effect": 6.0}, "60": {"set_effect": 6.0}}, "methods": ["duet"]}
    example = grid(main=[], sizes=sizes, set_effect=strong, sizes_set_effect=curve, epochs=2, width=8)
    cells = {cell.name: cell for cell in cells_of(example)}
    # Data of another part with the same changes is the same data.
    expected = ["default-1", "set_effect-strong-1", "sizes-20-1", "sizes_set_effect-20-1"]
    assert sorted(cells) == sorted(f"{place}-duet" for place in expected)
    small = cells["sizes_set_effect-20-1-duet"]
    assert example.requests_of(small.place) == 20 and example.facts(small)["requests"] == 20
    assert example.facts(small)["world"]["set_effect"] == 6.0 and "requests" not in example.facts(
        cells["default-1-duet"]
    )
    # 60 requests have 48 to train on, 20 have 16: a third, so three times as many epochs.
    configs = [example.cell_config("simulated", train, "duet", 1, 0.01) for train in (48, 16)]
    assert [config.training.epochs for config in configs] == [2, 6]
    assert example.cell_config("simulated", 16, "duet", 1, 0.01, is_tried=True).training.epochs == 2
    assert configs[0].model.options["width"] == 8
    assert "width" not in example.cell_config("simulated", 48, "two_tower", 1, 0.01).model.options


def test_learning_rates_may_be_tried_on_smaller_logs():
    example = grid(tuning_requests=20)
    assert [example.requests_of(Place("default", seed)) for seed in (1, 1001)] == [60, 20]


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
        {"sizes": {"worlds": {"tiny": {"requests": 19}}, "methods": ["duet"]}},
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
