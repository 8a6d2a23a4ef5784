"""The table on a dataset of requests."""

import json

import pytest
import yaml

from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.command_line import consort
from transforms.records import load_dataset

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
def test_a_dataset_is_trained_on_through_the_command(dataset, tmp_path):
    grid = {"name": "tiny", "source": "simulator", "seeds": 1, "epochs": 1, "embedding_dim": 4,
            "hidden_units": [8, 4], "main": ["two_tower"]}  # fmt: skip
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    command = ("table", "duet", "--data", dataset, "--out", tmp_path / "out")
    refused = consort(*command, "--grid", "duet_ebnerd")
    assert refused.code == 2 and "'ebnerd'" in refused.err and not (tmp_path / "out").exists()
    answer = consort(*command, "--grid", tmp_path / "grid.yaml", "--workers", 1)
    assert answer.code == 0, answer.err
    results = json.loads((tmp_path / "out" / "duet.json").read_text())
    assert [cell["data_sha256"] for cell in results["cells"]] == [load_dataset(dataset).sha256]
    assert "| `source` | simulator |" in (tmp_path / "out" / "duet.md").read_text()
