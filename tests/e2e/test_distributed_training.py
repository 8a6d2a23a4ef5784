"""tf.distribute for real: several processes on loopback, and several devices of one process."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.distributed_fit import CASES, fit_case, free_jobs, processes

pytestmark = pytest.mark.e2e
PROGRAM = "tests.helpers.distributed_fit"
LOSS_RANGE = 1e-5


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process makes of the cases."""
    folder = tmp_path_factory.mktemp("alone")
    return {case: fit_case(case, folder) for case in ("deepfm", "batch_norm", "padded_requests", "mutual_learning")}


def result(folder: Path, case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{case}.json").read_text())
    return found


def assert_the_same(found: dict[str, Any], alone: dict[str, Any]) -> None:
    """Equal but for the order in which floats are summed."""
    assert [row["step"] for row in found["history"]] == [row["step"] for row in alone["history"]]
    for row, expected in zip(found["history"], alone["history"], strict=True):
        losses = [name for name in expected if "loss" in name and name != "loss/mutual"]
        assert {"loss", "eval_loss", "logloss", "eval_logloss"} <= set(losses)
        for name in losses:
            assert row[name] == pytest.approx(expected[name], rel=LOSS_RANGE), name
        for name in [name for name in expected if "auc" in name]:
            assert row[name] == pytest.approx(expected[name], abs=0.01), name
    # What is learned is far from the start.
    assert abs(found["history"][-1]["loss"] - found["history"][0]["loss"]) > 1e-3
    for weight, expected in zip(found["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-4)


def test_two_workers_give_the_loss_curve_of_one_process(tmp_path: Path, alone: dict[str, Any]) -> None:
    jobs = free_jobs(worker=2)
    with processes(tmp_path) as running:
        for index in range(2):
            running.start(f"worker {index}", [PROGRAM, "multi_worker", tmp_path, *alone, "bad_price"], jobs)
        assert running.codes() == {"worker 0": 0, "worker 1": 0}, running.said()
    for case, expected in alone.items():
        assert_the_same(result(tmp_path, case), expected)
    # A loss that is no number ends both, and both know why, though only one has seen it.
    one, other = (path.read_text() for path in tmp_path.glob("bad_price *.error"))
    assert one == other and "loss became nan at step 3 " in one and "1 of 'price' in batch 1 of 1" in one
    assert max(int(path.stem.removeprefix("step-")) for path in (tmp_path / "bad_price").glob("step-*.index")) == 2


def test_two_devices_give_the_loss_curve_of_one_and_drop_out_apart(tmp_path: Path, alone: dict[str, Any]) -> None:
    with processes(tmp_path) as running:
        running.start("mirrored", [PROGRAM, "mirrored", tmp_path, *alone, "dropout"])
        assert running.codes() == {"mirrored": 0}, running.said()
    for case, expected in alone.items():
        assert_the_same(result(tmp_path, case), expected)
    assert math.isfinite(result(tmp_path, "dropout")["history"][-1]["loss"])


def test_one_worker_of_a_sharded_table_gives_the_loss_curve_of_one_process(
    tmp_path: Path, alone: dict[str, Any]
) -> None:
    jobs = free_jobs(chief=1, worker=1, ps=2)
    names = ["chief 0", "worker 0", "ps 0", "ps 1"]
    cases = ["deepfm", "mutual_learning"]
    with processes(tmp_path) as running:
        for name in names:
            running.start(name, [PROGRAM, "parameter_server", tmp_path, *cases], jobs)
        assert running.codes() == dict.fromkeys(names, 0), running.said()
    for case in cases:
        assert result(tmp_path, case)["shards"] == 2
        assert_the_same(result(tmp_path, case), alone[case])


def test_two_workers_of_parameter_servers_learn_though_one_is_killed(tmp_path: Path) -> None:
    jobs = free_jobs(chief=1, worker=2, ps=1)
    names = ["chief 0", "worker 0", "worker 1", "ps 0"]
    with processes(tmp_path) as running:
        for name in names:
            running.start(name, [PROGRAM, "parameter_server", tmp_path, "long"], jobs)
        running.wait_for(lambda: any((tmp_path / "long").glob("step-*.index")))
        running.kill("worker 0")
        assert running.codes() == {"chief 0": 0, "worker 1": 0, "ps 0": 0}, running.said()
    found = result(tmp_path, "long")
    # Every batch was trained on; one that was under way when the worker was killed perhaps twice.
    assert 0 <= found["step"] - CASES["long"][2]["epochs"] * 400 <= 2
    assert found["history"][-1]["eval_auc"] > 0.9
