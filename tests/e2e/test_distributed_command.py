"""`consort train` started on every process of a cluster: the data, the checkpoints and the model are the chief's."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from runs.config import RunConfig
from runs.data import Task
from runs.fitting import fit_task
from runs.plan import make_plan
from tests.helpers.command_line import consort
from tests.helpers.distributed_fit import free_jobs, processes, tf_config
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_learnable
from transforms.beam.transform_dataset import load_transform, transformed_files

pytestmark = pytest.mark.e2e
# No linear start, which processes that share a training do not have.
FITTING = {"checkpoint_steps": 10, "epochs": 6, "optimizer": "adagrad", "learning_rate": 0.1, "linear_start": False}
STEPS = 6 * 24
"""3000 rows in batches of 128 are 24 steps an epoch."""
LOST_WITHIN_S, ENDS_WITHIN_S = 60, 10
MANY_IDS = {"features": {"vocabularies": [{"name": "hashed", "hash_buckets": 70_000}]}}
"""So many that parameter servers share them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_learnable(tmp_path / "toy")
    (tmp_path / "toy.yaml").write_text(small_config(training=FITTING).to_yaml())
    return tmp_path


def command(distribution: str, *more: object) -> list[object]:
    where = ["toy.yaml", "--data", "toy", "--out", "run"]
    return ["consort", "train", *where, "--set", f"training.distribution={distribution}", *more]


def test_a_killed_worker_is_named_and_the_same_command_goes_on_to_the_model_of_one_process(folder: Path) -> None:
    checkpoints = folder / "run" / "checkpoints"
    jobs = free_jobs(worker=2)
    with processes(folder) as running:
        for name in ("worker 0", "worker 1"):
            running.start(name, command("multi_worker"), jobs)
        running.wait_for(lambda: any(checkpoints.glob("step-*.index")))
        running.kill("worker 1")
        killed = time.monotonic()
        running.wait_for_words("worker 0", "consort: lost worker 1")
        told = time.monotonic()
        assert running.codes() == {"worker 0": 1}, running.said()
        assert told - killed < LOST_WITHIN_S and time.monotonic() - told < ENDS_WITHIN_S
        said = running.said()["worker 0"]
        assert f"consort: lost worker 1 ({jobs['worker'][1]})" in said and "start the same command again" in said
        assert not (folder / "run" / "model").exists()
    with processes(folder) as running:
        for name in ("worker 0", "worker 1"):
            running.start(name, command("multi_worker", "--json", folder / f"{name}.json"), jobs)
        assert running.codes() == {"worker 0": 0, "worker 1": 0}, running.said()
    training = trained(folder)
    assert 10 <= training["resumed_from"] < STEPS
    # The worker, which wrote nothing, knows the same.
    other = json.loads((folder / "worker 1.json").read_text())["training"]
    assert other["resumed_from"] == training["resumed_from"]
    assert [row["eval_loss"] for row in other["history"]] == [row["eval_loss"] for row in training["history"]]
    assert_as_one_process(training, folder, small_config(training=FITTING))


def test_parameter_servers_train_and_export_the_model_of_one_process(folder: Path) -> None:
    config = small_config(training=FITTING, **MANY_IDS)
    (folder / "toy.yaml").write_text(config.to_yaml())
    jobs = free_jobs(chief=1, worker=1, ps=2)
    names = ["chief 0", "worker 0", "ps 0", "ps 1"]
    with processes(folder) as running:
        for name in names:
            running.start(name, command("parameter_server"), jobs)
        assert running.codes() == dict.fromkeys(names, 0), running.said()
    training = trained(folder)
    assert_as_one_process(training, folder, config)
    answer = consort(
        "evaluate", folder / "run", "--data", folder / "toy", "--split", "eval", "--json", folder / "e.json"
    )
    assert answer.code == 0, answer.err
    served = json.loads((folder / "e.json").read_text())["metrics"]["logloss"]
    assert served == pytest.approx(min(row["eval_logloss"] for row in training["history"]), rel=1e-5)


def trained(folder: Path) -> dict[str, Any]:
    """What the run's `run.json` says of training; nothing but the run is in its folder."""
    names = sorted(path.name for path in (folder / "run").iterdir())
    assert names == ["checkpoints", "config.yaml", "model", "run.json", "transformed"]
    found: dict[str, Any] = json.loads((folder / "run" / "run.json").read_text())["training"]
    assert found["steps"] == STEPS
    return found


def assert_as_one_process(training: dict[str, Any], folder: Path, config: RunConfig) -> None:
    """The history is what one process makes of the same transformed data."""
    plan, transformed = make_plan(config, folder / "toy", folder / "other"), folder / "run" / "transformed"
    task = Task(
        config=config,
        feature_set=plan.feature_set,
        transform=load_transform(transformed),
        train_files=transformed_files(transformed, "train"),
        eval_files=transformed_files(transformed, "eval"),
        run={},
        warmup_examples=(),
    )
    alone = fit_task(task, folder / "alone").result
    for row, expected in zip(training["history"], alone.history, strict=True):
        # The metrics of training, in the epoch that was resumed, are of the steps since.
        for name in ("eval_loss", "eval_logloss", "eval_auc"):
            # Two rows whose logits are all but equal may change places, which moves the AUC by one pair.
            tolerance = 1e-4 if name == "eval_auc" else 1e-5
            assert row[name] == pytest.approx(expected[name], rel=tolerance), (name, row["epoch"])
    assert training["history"][-1]["loss"] == pytest.approx(alone.history[-1]["loss"], rel=1e-5)
    assert alone.history[-1]["eval_auc"] > 0.8


def arguments(folder: Path) -> tuple[object, ...]:
    return ("train", folder / "toy.yaml", "--data", folder / "toy", "--out", folder / "run")


@pytest.mark.parametrize("distribution", ["multi_worker", "parameter_server"])
def test_a_missing_tf_config_is_told_before_anything_is_written(
    distribution: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    answer = consort(*arguments(folder), "--set", f"training.distribution={distribution}")
    assert answer.code == 2 and f"TF_CONFIG, for training.distribution {distribution}: received nothing" in answer.err
    assert not (folder / "run").exists()


def test_a_port_in_use_is_told_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as taken:
        jobs = {"worker": [f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"]}
        monkeypatch.setenv("TF_CONFIG", tf_config(jobs, "worker", 0))
        answer = consort(*arguments(folder), "--set", "training.distribution=multi_worker")
    assert answer.code == 2 and "worker 0 at 127.0.0.1" in answer.err and "in use" in answer.err
    assert not (folder / "run").exists()


def test_a_pipeline_is_not_spread_over_processes(folder: Path) -> None:
    root = folder / "root"
    where = (folder / "toy.yaml", "--data", folder / "toy", "--root", root)
    answer = consort("pipeline", "run", *where, "--set", "training.distribution=multi_worker")
    assert answer.code == 2 and "received 'multi_worker'; expected none or mirrored" in answer.err
    assert not root.exists()
