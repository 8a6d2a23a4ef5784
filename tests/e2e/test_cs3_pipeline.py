"""CS3 through the whole pipeline: towers and catalogue are pushed as one; a server's answers are the trainer's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from consort.config import load_config
from serving.client import PredictClient
from serving.retrieval.golden import check_golden_retrieval, read_golden_retrieval
from serving.retrieval.item_table import read_items
from serving.server.server import LocalServer
from serving.versions import versions_in
from simulation.cascade_log import simulate
from simulation.parameters import load_world
from tests.helpers.pipeline_runs import run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("cs3")
    simulate(folder / "log", load_world(None), 700, 1)
    config = load_config("simulated_cs3", ("training.batch_size=128", "gate.min_auc=0.4"))
    return folder / "root", run(config, folder / "log", folder / "root")


@pytest.fixture(scope="module")
def version(pushed: tuple[Path, dict[str, Any]]) -> Path:
    ((_, path),) = versions_in(pushed[0] / "serving" / "simulated_cs3")
    return path


def test_answers_over_grpc_are_the_trainers(pushed: tuple[Path, dict[str, Any]], version: Path) -> None:
    with LocalServer({"simulated_cs3": version.parent}, port=0) as server:
        server.wait_ready(timeout_s=120)
        with PredictClient(server.address, timeout_s=30) as client:

            def ask(inputs: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
                found = client.retrieve("simulated_cs3", inputs, k)
                return found.item_ids, found.scores

            check_golden_retrieval(version, ask)
            inputs, ids, _ = read_golden_retrieval(version)
            one = {name: values[:1] for name, values in inputs.items()}
            left_out = client.retrieve("simulated_cs3", one, 5, exclude=[ids[0, :2].tolist()])
            assert left_out.item_ids[0, :3].tolist() == ids[0, 2:5].tolist()


def test_the_items_of_the_version_are_those_it_retrieves(version: Path) -> None:
    items = read_items(version)
    _, ids, _ = read_golden_retrieval(version)
    rows = items.rows(ids[0])
    assert rows["item_id"].tolist() == ids[0].tolist() and rows["item_price"].dtype == np.float32
    assert len(items) > 100


def test_the_pushed_model_is_the_towers_alone(version: Path) -> None:
    model = tf.saved_model.load(str(version))
    kinds = {variable.name.split(":")[0].split("/")[0].rsplit("_", 1)[0] for variable in model._variables}
    # Two towers, one table as wide as one model's embeddings, the similarity, and what the four caches hold.
    assert kinds == {"tower", "table", "number", "scaled_product", "vectors"}
    assert sum(variable.name.startswith("vectors") for variable in model._variables) == 4
    assert next(v.shape[1] for v in model._variables if v.name.startswith("table")) == 16
