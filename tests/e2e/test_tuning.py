"""`consort tune` from the command line: killed, gone on with, with trials that fail."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from consort.config import load_config
from tests.helpers.command_line import consort, kill_when
from tests.helpers.pipeline_runs import run, small_config
from tests.helpers.source_tree import ROOT
from tests.helpers.toy_data import write_learnable

pytestmark = pytest.mark.e2e

FAULT, RATE = "model.options.fault", "training.learning_rate"
TUNING = {"max_trials": 3, "max_steps": 10, "space": {FAULT: ["nan", "none", "abort"]}}
# With this seed the trial without a fault comes first, and another is caught at work.
SEED = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    write_learnable(folder / "toy")
    # A class of the user's own, where he starts the command.
    shutil.copy(ROOT / "tests" / "helpers" / "fragile_model.py", folder)
    config = small_config(model={"name": "fragile_model.FragileModel"}, seed=SEED, tuning=TUNING)
    (folder / "toy.yaml").write_text(config.to_yaml())
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def result(search, number):
    (path,) = (search / "trials").glob(f"{number:04d}-*/result.json")
    return path


def commands_with(word):
    """Command lines of all processes that name something."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode())
        except OSError:
            continue
    return [line for line in found if word in line]


@pytest.fixture(scope="module")
def resumed(folder):
    """A search that was killed in its second trial and started again: what the first trial had left, the answer."""
    search = folder / "search"
    command = ("tune", folder / "toy.yaml", "--data", folder / "toy", "--out", search)
    kill_when(lambda: any(search.glob("trials/0001-*/log.txt")), folder, *command)
    deadline = time.monotonic() + 10
    while (left := commands_with(str(search))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == [], "a trial outlived its search"
    assert not any(search.glob("trials/0001-*/result.json")) and not (search / "best.yaml").exists()
    first = result(search, 0).read_bytes()
    return first, consort(*command, "--json", folder / "found.json")


def test_a_killed_search_goes_on_and_runs_no_finished_trial_again(folder, resumed):
    first, answer = resumed
    assert answer.code == 0, answer.err
    assert result(folder / "search", 0).read_bytes() == first
    assert "trial 0: done before" in answer.err and "trial 1: done before" not in answer.err


def test_failed_trials_are_counted_with_their_reasons_and_the_search_goes_on(folder, resumed):
    found = json.loads((folder / "found.json").read_text())
    assert (found["completed"], found["failed"], found["best"]["trial"]) == (1, 2, 0)
    reasons = {trial["hyperparameters"][FAULT]: trial["reason"] for trial in found["trials"]}
    assert reasons["none"] is None
    assert "loss became nan" in reasons["nan"] and "SIGABRT" in reasons["abort"]
    assert "failed" in resumed[1].out and "loss became nan" in resumed[1].out


def test_the_best_trial_is_a_run_file_with_the_runs_own_budget(folder, resumed):
    best, run = load_config(folder / "search" / "best.yaml"), load_config(folder / "toy.yaml")
    assert best.model.options == {"fault": "none"}
    # The best trial's score belongs to the precision that it was trained in.
    assert best.training == run.training.model_copy(update={"precision": "float32"})
    assert best.tuning.space == {} and best.seed == SEED


def test_a_search_in_which_every_trial_fails_is_an_error(folder, resumed):
    search = folder / "search"
    answer = consort(
        *("tune", folder / "toy.yaml", "--data", folder / "toy", "--out", search),
        *("--set", f"tuning.space={{{FAULT}: [raise]}}"),
    )
    assert answer.code == 1 and "every trial failed" in answer.err and "this model always fails" in answer.err
    found = json.loads((search / "tuning.json").read_text())
    assert found["failed"] == 1 and found["best"] is None
    assert not (search / "best.yaml").exists()


def test_a_trial_that_takes_more_memory_than_it_may_is_ended_and_says_so(folder, resumed):
    answer = consort(
        *("tune", folder / "toy.yaml", "--data", folder / "toy", "--out", folder / "search", "--trials", 1),
        *("--set", f"tuning.space={{{RATE}: [0.03]}}", "--set", "tuning.memory_gb=0.1"),
    )
    assert answer.code == 1 and "tuning.memory_gb allows 0.1" in answer.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tuning.space={training.learning_rat: [0.1]}", "did you mean 'training.learning_rate'"),
        ("tuning.space={model.options.falt: [none]}", "no option 'falt'"),
        ("tuning.space={}", "received no key"),
    ],
)
def test_a_wrong_space_exits_with_2_and_writes_nothing(folder, change, message):
    command = ("tune", folder / "toy.yaml", "--data", folder / "toy", "--out", folder / "wrong", "--set", change)
    answer = consort(*command)
    assert answer.code == 2 and message in answer.err and not (folder / "wrong").exists()


def test_a_folder_of_another_search_is_refused(folder, resumed):
    command = ("tune", folder / "toy.yaml", "--data", folder / "toy", "--out", folder / "search")
    answer = consort(*command, "--set", "training.batch_size=64")
    assert answer.code == 2 and "other settings than those of the search there" in answer.err


@pytest.mark.slow
def test_the_pipeline_pushes_a_model_with_the_best_values(folder):
    tuning = {"in_pipeline": True, "max_trials": 2, "parallel": 2, "space": {RATE: [0.0000001, 0.02]}}
    config = small_config(training={"epochs": 1, "linear_start": False}, tuning={**tuning, "max_steps": 24})
    version = Path(run(config, folder / "toy", folder / "root")["model"])
    contract = json.loads((version / "assets.extra" / "contract.json").read_text())
    assert contract["run"]["config"]["training"]["learning_rate"] == 0.02
    report = json.loads((folder / "root" / "reports" / "tuning.json").read_text())
    assert report["best"]["hyperparameters"] == {RATE: 0.02} and report["failed"] == 0
