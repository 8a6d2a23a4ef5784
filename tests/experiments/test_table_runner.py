"""How a grid is run: what is done again after a kill, which rates are tried, what is refused."""

import json

import pytest

from experiments.cs3.cells import cells_of as cs3_cells
from experiments.cs3.grid import CS3Grid
from experiments.duet.grid import Cell, DuetGrid, cells_of
from experiments.grid import Place, read_results
from experiments.runner import Table, chosen_rate, data_of, run_table
from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.tiny_grids import WORLD, Killed, kill_after
from transforms.errors import InputError

VALUES = {"name": "tiny", "world": WORLD, "requests": 40, "seeds": 1, "learning_rates": [0.01, 0.003]}
GRID = DuetGrid.model_validate(
    {
        **VALUES,
        "main": ["two_tower"],
        "bias": {"worlds": {"none": {"popularity_bias": 0.0}, "default": {}}, "methods": ["two_tower"]},
    }
)


def figures(run):
    """Trains nothing: the log loss is least at 0.003."""
    rate = chosen_rate(run.cell, run.grid, run.root)
    tried = run.cell.place.seed in run.grid.tuning_seeds
    return {"learning_rate": rate, "tried": tried, "monitored": abs(rate - 0.003), **run.grid.facts(run.cell)}


def table(cells_of, name="duet"):
    return Table(name, cells_of, figures, lambda result: f"rate {result['learning_rate']:g}")


def with_data(out, grid):
    """The folder of a grid whose logs are there, so that none is transformed."""
    out.mkdir(parents=True)
    (out / "grid.json").write_text(json.dumps({**grid.identity(), "dataset_sha256": None}))
    for place in (Place("default", 1), Place("default", 1001), Place("bias-none", 1)):
        simulate(data_of(out, place, grid).records, World.model_validate(WORLD), 40, place.seed)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was killed after three cells, and taken up again."""
    out = with_data(tmp_path_factory.mktemp("grid") / "out", GRID)
    with pytest.raises(Killed):
        run_table(table(cells_of), GRID, out, workers=0, say=kill_after(3))
    before = {path.name: path.read_text() for path in (out / "cells").iterdir()}
    return out, before, run_table(table(cells_of), GRID, out, workers=0)


def test_a_killed_run_goes_on_and_keeps_what_was_done(finished):
    out, before, results = finished
    assert len(before) == 3 and len(results["cells"]) == 5
    assert all((out / "cells" / name).read_text() == text for name, text in before.items())
    assert read_results(DuetGrid, out) == json.loads(json.dumps(results))


def test_the_rate_with_the_least_monitored_value_is_taken(finished):
    _, _, results = finished
    rates = {tried: {cell["learning_rate"] for cell in results["cells"] if cell["tried"] == tried}
             for tried in (True, False)}  # fmt: skip
    assert rates == {True: {0.01, 0.003, 0.001}, False: {0.003}}


def test_a_cell_that_tries_a_rate_takes_it(tmp_path):
    assert chosen_rate(Cell(Place("default", 1001), "duet", 0.5), GRID, tmp_path) == 0.5


def test_rates_beyond_an_end_that_was_best_are_tried_in_rounds_before_the_cells_that_take_them(tmp_path):
    grid = CS3Grid.model_validate({**VALUES, "main": ["base"]})
    said: list[str] = []
    results = run_table(table(cs3_cells, "cs3"), grid, with_data(tmp_path / "out", grid), workers=0, say=said.append)
    names = [line.split()[1].rstrip(":") for line in said if line.startswith("[")]
    rates = [float(name.rpartition("lr_")[2]) for name in names]
    assert rates == [0.003, 0.01, 0.001, 0.003] and names[-1] == "default-1-dssm-base-lr_0.003"
    assert [cell["tried"] for cell in results["cells"]] == [True, True, True, False]


def test_the_folder_of_another_grid_is_refused(finished):
    out, _, _ = finished
    with pytest.raises(InputError, match="requests"):
        run_table(table(cells_of), GRID.model_copy(update={"requests": 130}), out, workers=0)


def test_a_result_of_another_world_of_the_same_name_is_refused(finished):
    out, _, _ = finished
    worlds = {"none": {"popularity_bias": 0.1}, "default": {}}
    other = GRID.model_copy(update={"bias": GRID.bias.model_copy(update={"worlds": worlds})})
    with pytest.raises(InputError, match="bias-none-1-two_tower.json: received a result with world"):
        run_table(table(cells_of), other, out, workers=0)


def test_a_part_that_is_run_alone_leaves_the_other_results_in_place(finished):
    out, _, results = finished
    part = GRID.narrowed(parts=("bias",))
    assert len(run_table(table(cells_of), part, out, complete=GRID, workers=0)["cells"]) == len(results["cells"])
    assert len(run_table(table(cells_of), part, out, workers=0)["cells"]) == len(results["cells"])


def test_a_grid_without_cells_is_refused(tmp_path):
    empty = GRID.model_copy(update={"main": (), "bias": type(GRID.bias)()})
    with pytest.raises(InputError, match="no cell"):
        run_table(table(cells_of), empty, tmp_path / "out")
