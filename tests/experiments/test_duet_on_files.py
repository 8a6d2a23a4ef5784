"""The table on the first requests of a dataset."""

import json

import pytest
import yaml

from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.command_line import consort
from tests.helpers.tiny_grids import FEW_FEATURES

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
            "batch_size": 8, "hidden_units": [8, 4], "main": ["two_tower"], "overrides": [FEW_FEATURES]}  # fmt: skip
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    command = ("table", "duet", "--data", dataset, "--out", tmp_path / "out")
    refused = consort(*command, "--grid", "duet_ebnerd")
    assert refused.code == 2 and "'ebnerd'" in refused.err and not (tmp_path / "out").exists()
    answer = consort(*command, "--grid", tmp_path / "grid.yaml", "--requests", 40, "--workers", 1)
    assert answer.code == 0, answer.err
    results = json.loads((tmp_path / "out" / "duet.json").read_text())
    # Four fifths of the first 40 requests are the train split.
    assert [cell["steps"] for cell in results["cells"]] == [32 // 8]
    assert "| `source` | simulator |" in (tmp_path / "out" / "duet.md").read_text()
