"""`consort online` with a server attached: kills, version flips, pushes, and requests that never fail."""

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.client import PredictClient, ServingError
from serving.contract import read_contract
from serving.retrieval.golden import check_golden_retrieval, read_golden_retrieval
from serving.server.server import LocalServer
from serving.versions import versions_in
from tests.helpers.command_line import consort, finish, kill_when, start
from tests.helpers.toy_data import learnable_rows, toy_features
from transforms.spans import cut_spans
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e

_NAME, _SPANS = "toy_online", 4
_RUN = f"""
name: {_NAME}
source: toy
model: {{name: dssm, embedding_dim: 4, hidden_units: [8, 4]}}
training: {{batch_size: 32, learning_rate: 0.01, checkpoint_steps: 7}}
recipe: {{name: cs3}}
pipeline: {{keep_versions: 3}}
"""


class _Asker:
    """Retrieves without a pause, and counts what comes back."""

    def __init__(self, address: str, inputs: dict[str, Any]):
        self.failures: list[str] = []
        self.versions: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(address, inputs), daemon=True)

    def __enter__(self) -> "_Asker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self, address: str, inputs: dict[str, Any]) -> None:
        with PredictClient(address, timeout_s=20.0) as client:
            while not self._ended.is_set():
                try:
                    found = client.retrieve(_NAME, inputs, 3)
                    self.versions[found.version] = self.versions.get(found.version, 0) + 1
                except ServingError as error:
                    self.failures.append(str(error))
                time.sleep(0.005)


def _weights(out: Path) -> dict[str, np.ndarray]:
    newest = max(out.glob("checkpoints/step-*.index"), key=lambda path: int(path.stem.removeprefix("step-")))
    reader = tf.train.load_checkpoint(str(newest.with_suffix("")))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("weights")}


def _command(folder: Path, out: str) -> tuple[object, ...]:
    stream, run = folder / "stream", folder / "run.yaml"
    return ("online", run, "--stream", stream, "--out", folder / out, "--serve", folder / f"{out}_served")


def test_a_server_takes_up_each_version_and_kills_and_pushes_cost_nothing(tmp_path: Path) -> None:
    rows = learnable_rows("train", 800, 0)
    # No event is there twice.
    rows = dataclasses.replace(rows, columns={**rows.columns, "request_id": np.arange(800).astype("S")})
    write_dataset([rows], tmp_path / "log", "toy", toy_features(), {"seed": 0})
    cut_spans(tmp_path / "log", tmp_path / "stream", _SPANS)
    (tmp_path / "run.yaml").write_text(_RUN)
    served = tmp_path / "killed_served" / _NAME

    kill_when(lambda: len(versions_in(served)) >= 1, tmp_path, *_command(tmp_path, "killed"))
    first = versions_in(served)[0][1]
    inputs, _, _ = read_golden_retrieval(first)
    with (
        LocalServer({_NAME: served}, port=0, poll_s=0.1) as server,
        _Asker(_ready(server), {name: values[:1] for name, values in inputs.items()}) as asker,
    ):
        kill_when(lambda: len(versions_in(served)) >= 2, tmp_path, *_command(tmp_path, "killed"))
        assert finish(start(tmp_path, *_command(tmp_path, "killed"))).code == 0
        last = versions_in(served)[-1][0]
        deadline = time.monotonic() + 60
        while last not in asker.versions and time.monotonic() < deadline:
            time.sleep(0.05)
        _check_answers(server, versions_in(served)[-1][1])
    assert not asker.failures and len(asker.versions) >= 2 and last in asker.versions

    # Pushed also within a span, at checkpoints; what is learned is the same.
    assert consort(*_command(tmp_path, "whole"), "--push-events", 330).code == 0
    pushed = versions_in(tmp_path / "whole_served" / _NAME)
    # After batches of 32 in spans of 200.
    assert [read_contract(path)["run"]["events"] for _, path in pushed] == [360, 664, 800]
    expected, found = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
    # Each span was pushed once: numbers without a gap, and of the spans seen the last three.
    kept = versions_in(served)
    assert [number for number, _ in kept] == list(range(kept[-1][0] - 2, kept[-1][0] + 1))
    assert [read_contract(path)["run"]["spans"] for _, path in kept] == [2, 3, 4]


def _ready(server: LocalServer) -> str:
    server.wait_ready(timeout_s=120)
    return str(server.address)


def _check_answers(server: LocalServer, version: Path) -> None:
    with PredictClient(server.address, timeout_s=20) as client:

        def ask(sent: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
            found = client.retrieve(_NAME, sent, k)
            assert found.version == int(version.name)
            return found.item_ids, found.scores

        check_golden_retrieval(version, ask)
