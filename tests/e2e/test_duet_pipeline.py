"""DUET through the whole pipeline: two rankers in, one model out, judged on what was shown and served as trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.command_line import consort

pytestmark = pytest.mark.e2e

_SETTINGS = (
    "training.batch_size=32",
    "training.epochs=1",
    "training.learning_rate=0.02",
    "model.embedding_dim=8",
    "model.hidden_units=[32, 16]",
    "gate.min_auc=0.3",
    "gate.max_calibration_error=9",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("duet")
    simulate(path / "data", World(), 600, 1)
    settings = [part for setting in _SETTINGS for part in ("--set", setting)]
    answer = consort("pipeline", "run", "simulated_duet", "--data", path / "data", "--root", path / "root", *settings)
    assert answer.code == 0, answer.err
    return path


@pytest.fixture(scope="module")
def pushed(folder: Path) -> Path:
    (version,) = (folder / "root" / "serving" / "simulated_duet").iterdir()
    return version


def test_the_model_that_is_pushed_is_one_peer_of_the_two(pushed: Path) -> None:
    import tensorflow as tf

    from serving.contract import read_contract

    run = read_contract(pushed)["run"]
    recipe, last = run["recipe"], run["training"]["history"][run["training"]["best_epoch"] - 1]
    assert recipe["recipe"] == "duet" and len(recipe["peers"]) == 2
    losses = [last[f"eval_logloss/peer_{k}"] for k in range(2)]
    assert recipe["best_peer"] == int(np.argmin(losses)) and losses[0] != losses[1]
    shapes = [shape for _, shape in tf.train.list_variables(str(pushed / "variables" / "variables"))]
    # Vectors of width 8, and the linear terms by which a small log begins.
    tables = [shape for shape in shapes if len(shape) == 2 and shape[1] == 9 and shape[0] > 1000]
    assert len(tables) == 1 and shapes.count([32, 16]) == 1


def _evaluation(folder: Path) -> dict[str, Any]:
    import tensorflow_model_analysis as tfma

    (path,) = (folder / "root" / "artifacts" / "Evaluator" / "evaluation").iterdir()
    return tfma.load_eval_result(str(path)).get_metrics_for_slice()


def test_the_evaluators_auc_is_that_of_the_shown_candidates_alone(folder: Path, pushed: Path) -> None:
    from runs.evaluate import score

    scored = score(pushed, folder / "data", "test").requests
    assert scored is not None
    label, p = scored.label[scored.exposed], scored.probability[scored.exposed]
    clicked, others = p[label == 1], p[label == 0]
    ordered = (clicked[:, None] > others).mean() + 0.5 * (clicked[:, None] == others).mean()
    metrics = _evaluation(folder)
    assert metrics["example_count"]["doubleValue"] == 600  # 60 test requests with 10 shown each
    assert metrics["auc"]["doubleValue"] == pytest.approx(ordered, abs=1e-4)
    assert metrics["calibration"]["doubleValue"] == pytest.approx(p.sum() / label.sum(), rel=1e-4)
    # All candidates would have given another figure.
    every = scored.probability[scored.candidate]
    assert abs((every[:, None] < clicked).mean() - ordered) > 1e-3


def test_a_served_request_gets_the_trainers_scores(folder: Path, pushed: Path) -> None:
    from serving.client import PredictClient
    from serving.contract import read_contract
    from serving.export.golden import read_golden
    from serving.export.requests import request_inputs, without_padding
    from serving.server.server import LocalServer
    from serving.versions import model_bases
    from transforms.features import FeatureSet

    features = FeatureSet.model_validate(read_contract(pushed)["feature_set"])
    examples, expected = read_golden(pushed)
    inputs = request_inputs(examples, features, "request")
    with LocalServer(model_bases(folder / "root")) as server:
        server.wait_ready(120)
        with PredictClient(server.address, timeout_s=20.0) as client:
            together = client.predict("simulated_duet", inputs).outputs["probability"]
            one = without_padding({name: value[:1] for name, value in inputs.items()}, features)
            alone = client.predict("simulated_duet", one).outputs["probability"]
    real = inputs["candidate"] == 1
    np.testing.assert_allclose(together[real], expected[real], atol=1e-5)
    assert alone.shape == (1, real[0].sum()) and real[0].sum() > 50
    np.testing.assert_allclose(alone[0], expected[0][real[0]], atol=1e-5)
    assert expected[real].std() > 1e-3
