"""A tiny grid of DUET from one end to the other, and how it goes on after a kill."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.duet.cells import Cell
from experiments.duet.grid import DuetGrid, read_results
from experiments.duet.measures import measured, of_pair
from experiments.duet.page import render
from experiments.duet.runner import run_grid
from experiments.grid_runner import chosen_rate
from experiments.places import Place
from runs.evaluate import LOGGED_SCORE, TRUTH, ScoredRequests
from tests.helpers.tiny_grids import WORLD, killed_and_taken_up
from transforms.errors import InputError

GRID = DuetGrid.model_validate(
    {
        "name": "tiny", "world": WORLD, "requests": 120, "seeds": 1, "batch_size": 32, "epochs": 2, "embedding_dim": 4,
        "hidden_units": [8, 4], "learning_rates": [0.01, 0.003], "main": ["two_tower"],
        "bias": {"worlds": {"none": {"popularity_bias": 0.0}, "default": {}}, "methods": ["two_tower"]},
    }
)  # fmt: skip
PAIR = GRID.model_copy(update={"learning_rates": (0.01,), "main": ("duet_pointwise",), "epochs": 1})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was killed after three cells, and taken up again."""
    return killed_and_taken_up(run_grid, GRID, tmp_path_factory.mktemp("duet") / "out", 3)


def test_a_killed_run_goes_on_and_keeps_what_was_done(finished):
    out, before, results = finished
    assert len(before) == 3 and len(results["cells"]) == 4
    assert all((out / "cells" / name).read_text() == text for name, text in before.items())
    assert read_results(out) == json.loads(json.dumps(results))


def test_a_missing_cell_is_trained_again_to_the_same_figures(finished):
    out, _, _ = finished
    file = out / "cells" / "default-1-two_tower.json"
    first = json.loads(file.read_text())
    file.unlink()
    run_grid(GRID, out, workers=0)
    again = json.loads(file.read_text())
    assert again["data_sha256"] == first["data_sha256"] and again["learning_rate"] == first["learning_rate"]
    # Sums of several threads come in any order.
    assert again["test"]["served"]["auc_entire"] == pytest.approx(first["test"]["served"]["auc_entire"], abs=5e-3)


def test_the_rate_with_the_least_monitored_value_is_taken(finished):
    _, _, results = finished
    tried = {cell["learning_rate"]: cell["monitored"] for cell in results["cells"] if cell["tried"]}
    chosen = {cell["learning_rate"] for cell in results["cells"] if not cell["tried"]}
    assert len(tried) == 2 and chosen == {min(tried, key=lambda rate: tried[rate])}


def test_a_cell_that_tries_a_rate_takes_it():
    assert chosen_rate(Cell(Place("default", 1001), "duet", 0.5), GRID, Path()) == 0.5


def test_the_better_peer_of_a_pair_is_served_and_their_mean_stands_beside_it(tmp_path):
    results = run_grid(PAIR.model_copy(update={"bias": type(GRID.bias)()}), tmp_path / "out", workers=0)
    (cell,) = results["cells"]
    losses = {name: cell["history"][0][f"eval_logloss/{name}"] for name in ("peer_0", "peer_1")}
    assert cell["served"] == min(losses, key=lambda name: losses[name])
    assert set(cell["test"]) == {"served", "ensemble", "pair"} and 0 <= cell["test"]["pair"]["agreement"] <= 1
    assert "duet.md" in render(results)


def test_the_folder_of_another_grid_is_refused(finished):
    out, _, _ = finished
    with pytest.raises(InputError, match="requests"):
        run_grid(GRID.model_copy(update={"requests": 130}), out, workers=0)


def test_a_result_of_another_world_of_the_same_name_is_refused(finished):
    out, _, _ = finished
    worlds = {"none": {"popularity_bias": 0.1}, "default": {}}
    other = GRID.model_copy(update={"bias": GRID.bias.model_copy(update={"worlds": worlds})})
    with pytest.raises(InputError, match="another world"):
        run_grid(other, out, workers=0)


def test_a_grid_without_cells_is_refused(tmp_path):
    with pytest.raises(InputError, match="no cell"):
        run_grid(GRID.model_copy(update={"main": (), "bias": type(GRID.bias)()}), tmp_path / "out")


def scored_requests(seed=1, requests=40, candidates=10):
    """Requests with a truth between 0.05 and 0.95, every second candidate shown."""
    random = np.random.default_rng(seed)
    truth = random.uniform(0.05, 0.95, (requests, candidates))
    candidate = np.ones(truth.shape, bool)
    exposed = np.arange(candidates) % 2 == np.zeros((requests, 1))
    label = (random.uniform(size=truth.shape) < truth).astype(np.float32)
    users = np.array([b"u%d" % (row % 7) for row in range(requests)])
    return ScoredRequests(candidate, exposed, label, truth, users, {TRUTH: truth, LOGGED_SCORE: truth})


def true_logits(requests):
    truth = requests.extra[TRUTH]
    return np.log(truth) - np.log1p(-truth)


def test_true_logits_have_no_error_and_agree_with_themselves():
    requests = scored_requests()
    logits = true_logits(requests)
    found = measured(logits, requests)
    assert found["auc_unexposed"] == pytest.approx(found["oracle_auc_unexposed"])
    assert found["prediction_unexposed"] == pytest.approx(found["truth_unexposed"], abs=1e-6)
    assert abs(found["error_mean_unexposed"]) < 1e-6
    assert of_pair(logits, logits, requests)["agreement"] == 1.0


def test_errors_of_opposite_sign_are_anticorrelated():
    requests = scored_requests()
    noise = np.random.default_rng(1).normal(size=requests.candidate.shape)
    true = true_logits(requests)
    assert of_pair(true + noise, true - noise, requests)["error_correlation"] == pytest.approx(-1.0)
