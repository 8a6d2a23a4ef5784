"""A simulated click log from the command line to a report that knows the best possible AUC."""

import json

import numpy as np
import pytest

from benchmarks.end_to_end import TRAINS
from simulation.ctr_world import ClickLogWorld
from simulation.parameters import ClickLogParameters
from tests.helpers.command_line import consort
from transforms.splits import random_splits

pytestmark = pytest.mark.e2e
ROWS, SEED = 60_000, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ctr")
    simulated = consort("data", "simulate", "--world", "ctr", "--rows", ROWS, "--seed", SEED, "--out", folder / "log")
    assert simulated.code == 0, simulated.err
    settings = ("training.batch_size=500", "training.epochs=1", "model.hidden_units=[64,32]")
    sets = [word for setting in settings for word in ("--set", setting)]
    trained = consort("train", "simulated_ctr_deepfm", "--data", folder / "log", "--out", folder / "run", *sets)
    assert trained.code == 0, trained.err
    # `consort bench end_to_end` tells the parts of a training by them.
    assert [f"{line}\n" for line in trained.err.splitlines() if f"{line}\n" in TRAINS] == list(TRAINS)
    return folder


def test_the_report_states_the_models_auc_and_the_oracles(folder):
    report = folder / "report.json"
    answer = consort("evaluate", folder / "run", "--data", folder / "log", "--resamples", 0, "--json", report)
    assert answer.code == 0, answer.err
    metrics = json.loads(report.read_text())["metrics"]
    notes = json.loads((folder / "log" / "dataset.json").read_text())["notes"]["row"]["test"]
    assert metrics["oracle_auc"] == pytest.approx(notes["oracle_auc"], abs=1e-6)
    # 48,000 rows are too few for the whole truth, but enough for most of it.
    assert 0.75 < (metrics["auc"] - 0.5) / (metrics["oracle_auc"] - 0.5) < 1.0


def test_the_written_test_split_is_that_of_the_arrays(folder):
    sample = ClickLogWorld(ClickLogParameters(), SEED).sample(ROWS, SEED)
    test = random_splits(np.arange(ROWS), SEED) == 2
    written = json.loads((folder / "log" / "dataset.json").read_text())["notes"]["row"]["test"]
    assert written["click_rate"] == pytest.approx(sample["label"][test].mean(dtype=np.float64))


def test_the_model_never_hears_of_the_truth(folder):
    from serving.contract import read_contract
    from serving.versions import find_saved_model

    contract = json.dumps(read_contract(find_saved_model(folder / "run"))["signatures"]["serving_default"]["inputs"])
    assert "c16" in contract
    assert "true_click_probability" not in contract
