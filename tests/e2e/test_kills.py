"""kill -9 in the middle of the work: nothing half-written shows, and the same command goes on."""

import json

import pytest

from benchmarks.criteo_like import write_criteo_like
from tests.helpers.command_line import consort, kill_when
from tests.helpers.pipeline_runs import CACHED, COMPLETE, RUNNING, small_config, states
from tests.helpers.toy_data import write_learnable

pytestmark = pytest.mark.e2e

FITTING = {"checkpoint_steps": 7, "epochs": 12, "patience": 12}
STEPS = 12 * 24
"""3000 rows in batches of 128 are 24 steps an epoch."""


@pytest.fixture
def folder(tmp_path):
    write_learnable(tmp_path / "toy")
    (tmp_path / "toy.yaml").write_text(small_config(training=FITTING).to_yaml())
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def appears(folder, pattern):
    return lambda: any(folder.glob(pattern))


def test_a_killed_simulation_leaves_nothing_that_shows(tmp_path):
    kill_when(
        appears(tmp_path, ".log.partial-*/row/train/*.tfrecord"),
        *(tmp_path, "data", "simulate", "--out", "log", "--requests", 20_000),
    )
    (left,) = names(tmp_path)
    assert left.startswith(".log.partial-")
    assert consort("data", "simulate", "--out", tmp_path / "log", "--requests", 200).code == 0
    assert names(tmp_path) == ["log"]
    assert consort("data", "describe", tmp_path / "log", "--verify").code == 0


def test_a_killed_import_leaves_nothing_that_shows(tmp_path):
    (tmp_path / "raw").mkdir()
    write_criteo_like(tmp_path / "raw" / "train.txt", 8000)
    command = ("data", "import", "criteo", "--input", tmp_path / "raw", "--out", tmp_path / "data")
    # Many small shards, so that there is a middle.
    small = (*command, "--option", "chunk_bytes=20000")
    kill_when(appears(tmp_path, ".data.partial-*/row/train/*.tfrecord"), tmp_path, *small)
    left, raw = names(tmp_path)
    assert left.startswith(".data.partial-") and raw == "raw"
    assert consort(*small).code == 0
    assert names(tmp_path) == ["data", "raw"]
    answer = consort("data", "describe", tmp_path / "data", "--verify", "--json", tmp_path / "data.json")
    splits = json.loads((tmp_path / "data.json").read_text())["records"]["row"].values()
    assert answer.code == 0 and sum(split["records"] for split in splits) == 8000


def test_a_killed_training_goes_on_to_the_same_model(folder, monkeypatch):
    command = ("train", "toy.yaml", "--data", "toy", "--out", "cut")
    run = folder / "cut"
    # What a run leaves that was killed while it wrote its first file.
    run.mkdir()
    (run / ".run.json.tmp-999999999-abc").write_text("{")
    kill_when(appears(run, ".transformed.partial-*"), folder, *command)
    assert not (run / "transformed").exists()
    kill_when(appears(run, "checkpoints/step-42.index"), folder, *command)
    assert (run / "transformed").is_dir() and not (run / "model").exists()
    kill_when(appears(run, ".model.partial-*/saved_model.pb"), folder, *command)
    resumed = json.loads((run / "run.json").read_text())["training"]
    # The fit went on from a checkpoint in its middle, and was whole when the export was killed.
    assert 35 <= resumed["resumed_from"] < STEPS and resumed["steps"] == STEPS
    assert not (run / "model").exists()
    monkeypatch.chdir(folder)
    last = consort(*command)
    assert last.code == 0, last.err
    assert names(run) == ["checkpoints", "config.yaml", "model", "run.json", "transformed"]
    assert consort("train", "toy.yaml", "--data", "toy", "--out", "whole").code == 0
    # On a busy machine threads may add up in another order; what is lost or done twice shows in the first digits.
    assert golden(run) == pytest.approx(golden(folder / "whole"), rel=1e-5)


def golden(run):
    return json.loads((run / "model" / "assets.extra" / "golden.json").read_text())["probability"]


def test_a_killed_pipeline_goes_on_from_its_checkpoint(folder, monkeypatch):
    root = folder / "root"
    command = ("pipeline", "run", "toy.yaml", "--data", "toy", "--root", "root")
    kill_when(appears(root, "checkpoints/*/step-42.index"), folder, *command)
    assert not (root / "serving").exists() and states(root, "Trainer") == [RUNNING]
    monkeypatch.chdir(folder)
    again = consort(*command)
    assert again.code == 0, again.err
    assert states(root, "Trainer") == [RUNNING, COMPLETE]
    assert states(root, "RecordTransform") == [COMPLETE, CACHED]
    (version,) = (root / "serving" / "toy_deepfm").iterdir()
    contract = json.loads((version / "assets.extra" / "contract.json").read_text())
    assert 35 <= contract["run"]["training"]["resumed_from"] < STEPS
    assert contract["run"]["training"]["steps"] == STEPS
    assert list((root / "checkpoints").iterdir()) == []


def test_a_killed_export_shows_no_version_and_the_next_clears_it_away(tmp_path):
    model = tmp_path / "model"
    (model / "assets.extra").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"")
    contract = {"contract_version": 1, "model": "toy"}
    (model / "assets.extra" / "contract.json").write_text(json.dumps(contract))
    # So large that its copy has a middle.
    with open(model / "assets.extra" / "ballast", "wb") as file:
        file.truncate(400 << 20)
    base = tmp_path / "out" / "toy"
    kill_when(appears(base, ".*.partial-*/assets.extra/ballast"), tmp_path, "export", "model", "--out", "out")
    assert all(name.startswith(".") for name in names(base))
    answer = consort("serve", tmp_path / "out")
    assert answer.code == 2 and "expected versions of exported models" in answer.err
    (model / "assets.extra" / "ballast").unlink()
    assert consort("export", model, "--out", tmp_path / "out").code == 0
    (version,) = names(base)
    assert version.isdigit()
