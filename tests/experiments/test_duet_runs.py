"""A cell of DUET: what is trained, served and measured."""

import numpy as np
import pytest

from experiments.duet.grid import DuetGrid
from experiments.duet.page import render
from experiments.duet.training import TABLE, measured, of_pair
from experiments.runner import run_table
from runs.evaluate import LOGGED_SCORE, TRUTH, ScoredRequests
from tests.helpers.tiny_grids import FEW_FEATURES, WORLD

GRID = DuetGrid.model_validate(
    {
        "name": "tiny", "world": WORLD, "requests": 120, "seeds": 1, "batch_size": 32, "epochs": 1, "embedding_dim": 4,
        "hidden_units": [8, 4], "learning_rates": [0.01], "main": ["duet_pointwise"],
        "overrides": [FEW_FEATURES],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("duet") / "out"
    return out, run_table(TABLE, GRID, out, workers=0)


def test_the_better_peer_of_a_pair_is_served_and_their_mean_stands_beside_it(finished):
    _, results = finished
    (cell,) = results["cells"]
    losses = {name: cell["history"][0][f"eval_logloss/{name}"] for name in ("peer_0", "peer_1")}
    assert cell["served"] == min(losses, key=lambda name: losses[name])
    assert set(cell["test"]) == {"served", "ensemble", "pair"} and 0 <= cell["test"]["pair"]["agreement"] <= 1
    assert "duet.md" in render(results)


def test_a_missing_cell_is_trained_again_to_the_same_figures(finished):
    out, results = finished
    (first,) = results["cells"]
    (out / "cells" / f"{first['cell']}.json").unlink()
    (again,) = run_table(TABLE, GRID, out, workers=0)["cells"]
    assert again["data_sha256"] == first["data_sha256"] and again["learning_rate"] == first["learning_rate"]
    # Sums of several threads come in any order.
    assert again["test"]["served"]["auc_entire"] == pytest.approx(first["test"]["served"]["auc_entire"], abs=5e-3)


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
    metrics = measured(logits, requests)
    assert metrics["auc_unexposed"] == pytest.approx(metrics["oracle_auc_unexposed"])
    assert metrics["prediction_unexposed"] == pytest.approx(metrics["truth_unexposed"], abs=1e-6)
    assert abs(metrics["error_mean_unexposed"]) < 1e-6
    assert of_pair(logits, logits, requests)["agreement"] == 1.0


def test_errors_of_opposite_sign_are_anticorrelated():
    requests = scored_requests()
    noise = np.random.default_rng(1).normal(size=requests.candidate.shape)
    true = true_logits(requests)
    assert of_pair(true + noise, true - noise, requests)["error_correlation"] == pytest.approx(-1.0)
