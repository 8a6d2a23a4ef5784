"""No room to write: exit code 1, a message, nothing half-written, and the same command works with room."""

import pytest

from benchmarks.criteo_like import write_criteo_like
from tests.helpers.command_line import consort, run_short_of_disk
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_learnable

pytestmark = pytest.mark.e2e

ADVICE = "the disk is full. Fix: free space"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_refused(answer):
    assert answer.code == 1, answer.err
    assert ADVICE in answer.err
    assert "Traceback" not in answer.err


def test_a_simulation_without_room_leaves_nothing(tmp_path):
    command = ("data", "simulate", "--out", tmp_path / "log", "--requests", 100)
    assert_refused(run_short_of_disk(20_000, tmp_path, *command))
    assert names(tmp_path) == []
    assert consort(*command).code == 0
    assert consort("data", "describe", tmp_path / "log", "--verify").code == 0


def test_an_import_without_room_leaves_nothing(tmp_path):
    (tmp_path / "raw").mkdir()
    write_criteo_like(tmp_path / "raw" / "train.txt", 2000)
    command = ("data", "import", "criteo", "--input", tmp_path / "raw", "--out", tmp_path / "data")
    assert_refused(run_short_of_disk(100_000, tmp_path, *command))
    assert names(tmp_path) == ["raw"]
    assert consort(*command).code == 0
    assert consort("data", "describe", tmp_path / "data", "--verify").code == 0


def test_a_training_without_room_goes_on_once_there_is_some(tmp_path):
    write_learnable(tmp_path / "toy")
    (tmp_path / "toy.yaml").write_text(small_config(training={"epochs": 1}).to_yaml())
    command = ("train", tmp_path / "toy.yaml", "--data", tmp_path / "toy", "--out", tmp_path / "run")
    transformed_bytes = 400_000
    assert_refused(run_short_of_disk(transformed_bytes, tmp_path, *command))
    assert names(tmp_path / "run") == ["config.yaml", "run.json"]
    answer = consort(*command)
    assert answer.code == 0, answer.err
    assert names(tmp_path / "run") == ["checkpoints", "config.yaml", "model", "run.json", "transformed"]


def test_an_export_without_room_shows_no_version(tmp_path):
    model = tmp_path / "model"
    (model / "assets.extra").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"x" * 5000)
    (model / "assets.extra" / "contract.json").write_text('{"contract_version": 1, "model": "toy"}')
    command = ("export", model, "--out", tmp_path / "out")
    assert_refused(run_short_of_disk(1000, tmp_path, *command))
    assert names(tmp_path / "out" / "toy") == []
    assert consort(*command).code == 0
