"""CS3 under parameter servers on loopback: caches that lie in shards give what one process gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.command_line import consort
from tests.helpers.distributed_fit import free_jobs, processes
from tests.helpers.toy_data import learnable_rows, toy_features
from transforms.features import Split
from transforms.spans import cut_spans
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e
_IDS = 70_000
"""Hashed buckets of a vocabulary: so many that parameter servers share its table and its caches."""
_ROWS: dict[Split, int] = {"train": 800, "eval": 200, "test": 100}
_NAMES = ("chief 0", "worker 0", "ps 0", "ps 1")
_SERVED = ["--set", "training.distribution=parameter_server"]
_RUN = f"""
name: toy_online
source: toy
model: {{name: dssm, embedding_dim: 4, hidden_units: [8, 4]}}
features: {{vocabularies: [{{name: user_id, hash_buckets: {_IDS}}}, {{name: items, hash_buckets: {_IDS}}}]}}
training: {{batch_size: 32, learning_rate: 0.01, checkpoint_steps: 7}}
recipe: {{name: cs3, options: {{softmax_weight: 0.1}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [learnable_rows(split, size, size) for split, size in _ROWS.items()]
    write_dataset(rows, tmp_path / "log", "toy", toy_features(), {})
    cut_spans(tmp_path / "log", tmp_path / "stream", 2)
    (tmp_path / "run.yaml").write_text(_RUN)
    return tmp_path


def _by_servers(folder: Path, *command: object) -> None:
    jobs = free_jobs(chief=1, worker=1, ps=2)
    with processes(folder) as running:
        for name in _NAMES:
            running.start(name, ["consort", *command, *_SERVED], jobs)
        assert running.codes() == dict.fromkeys(_NAMES, 0), running.said()


def _weights(out: Path) -> dict[str, np.ndarray]:
    newest = max(out.rglob("step-*.index"), key=lambda path: int(path.stem.removeprefix("step-")))
    reader = tf.train.load_checkpoint(str(newest.with_suffix("")))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("weights")}


def _assert_the_same_weights(one: Path, other: Path) -> None:
    found, expected = _weights(one), _weights(other)
    assert set(found) == set(expected)
    # The four caches, and what the towers look up.
    assert sum(values.ndim == 2 and len(values) > _IDS for values in expected.values()) >= 5
    for name, values in expected.items():
        # Adam turns the last digit of a small gradient into a step; a batch out of order, or lost, makes hundredths.
        np.testing.assert_allclose(found[name], values, rtol=1e-2, atol=1e-3, err_msg=name)


def test_one_worker_of_sharded_caches_trains_as_one_process_does(folder: Path) -> None:
    command: tuple[Any, ...] = ("train", folder / "run.yaml", "--data", folder / "log", "--out")
    _by_servers(folder, *command, folder / "served")
    assert consort(*command, folder / "alone").code == 0
    _assert_the_same_weights(folder / "served", folder / "alone")
    runs = [json.loads((folder / name / "run.json").read_text()) for name in ("served", "alone")]
    assert runs[0]["recipe"] == runs[1]["recipe"] and runs[0]["recipe"]["cached_ids"]["cross_user"] > 0
    for row, expected in zip(*(run["training"]["history"] for run in runs), strict=True):
        for name in ("loss", "logloss/towers", "eval_logloss"):
            assert row[name] == pytest.approx(expected[name], rel=1e-4), name


def test_one_worker_of_sharded_caches_learns_from_a_stream_as_one_process_does(folder: Path) -> None:
    command: tuple[Any, ...] = ("online", folder / "run.yaml", "--stream", folder / "stream", "--out")
    _by_servers(folder, *command, folder / "served", "--serve", folder / "versions")
    assert consort(*command, folder / "alone").code == 0
    _assert_the_same_weights(folder / "served", folder / "alone")
    reports = [json.loads((folder / name / "online.json").read_text()) for name in ("served", "alone")]
    for row, expected in zip(*(report["spans"] for report in reports), strict=True):
        for name in ("events", "logloss/towers", "logloss/ranker"):
            assert row[name] == pytest.approx(expected[name], rel=1e-4), name
    assert len([path for path in (folder / "versions" / "toy_online").iterdir() if path.name.isdigit()]) == 2
