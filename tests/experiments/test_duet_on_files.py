"""Requests of a dataset on disk as arrays: what the simulator's own arrays hold, and what a run of the table needs."""

import json

import numpy as np
import pytest
import yaml

from experiments.duet.dataset import dataset_data
from experiments.duet.simulated import simulated_data
from experiments.duet.storage import load_data
from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.command_line import consort
from transforms.features import SPLITS

WORLD = World(
    users=40, items=60, candidates=10, min_candidates=8, pool_size=20, ranked_items=6, exposed_items=3,
    history_length=5, block_requests=32, base_logit=-0.5,
)  # fmt: skip
REQUESTS = 60


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "data"
    simulate(folder, WORLD, REQUESTS, 3)
    return folder


@pytest.mark.e2e
def test_records_give_the_arrays_that_the_simulator_gives_itself(dataset):
    found, expected = dataset_data(dataset, None), simulated_data(WORLD, REQUESTS, 3)
    assert found.inputs == expected.inputs
    for split in SPLITS:
        own, other = found.splits[split], expected.splits[split]
        assert len(own) == len(other) and np.array_equal(own.history_length, other.history_length)
        assert np.array_equal(own.candidate, other.candidate) and np.array_equal(own.exposed, other.exposed)
        assert np.array_equal(own.label[own.exposed], other.label[other.exposed])
        for name in ("stage", "truth", "logging_score"):
            one, two = (getattr(requests, name)[own.candidate] for requests in (own, other))
            assert np.allclose(one, two, atol=1e-6), name
        assert len(set(own.user.tolist())) == len(set(other.user.tolist()))


@pytest.mark.e2e
def test_a_dataset_is_trained_on_through_the_command_and_read_no_further_than_asked(dataset, tmp_path):
    grid = {"name": "tiny", "source": "simulator", "requests": 40, "seeds": 1, "epochs": 1, "embedding_dim": 4,
            "hidden_units": [8, 4], "main": ["two_tower"]}  # fmt: skip
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    command = ("table", "duet", "--data", dataset, "--out", tmp_path / "out")
    refused = consort(*command, "--grid", "duet_ebnerd")
    assert refused.code == 2 and "'ebnerd'" in refused.err and not (tmp_path / "out").exists()
    answer = consort(*command, "--grid", tmp_path / "grid.yaml", "--workers", 1)
    assert answer.code == 0, answer.err
    data, sha256 = load_data(tmp_path / "out" / "work" / "data" / "dataset")
    assert [len(data.splits[split]) for split in SPLITS] == [32, 4, 4]
    results = json.loads((tmp_path / "out" / "duet.json").read_text())
    assert [cell["data_sha256"] for cell in results["cells"]] == [sha256]
    assert "| `source` | simulator |" in (tmp_path / "out" / "duet.md").read_text()
