"""A ranker trained on request records: candidate lists in, a score a candidate out."""

import numpy as np
import pytest

from consort.config import load_config
from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.pipeline_runs import run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests")
    simulate(folder / "data", World(), 600, 1)
    settings = ("record=request", "training.batch_size=64", "gate.min_auc=0.3", "gate.max_calibration_error=9")
    return folder, run(load_config("simulated_deepfm", settings), folder / "data", folder / "root")


def test_the_evaluator_counts_exposed_candidates_alone(pushed):
    import tensorflow_model_analysis as tfma

    folder, _ = pushed
    (evaluation,) = (folder / "root" / "artifacts" / "Evaluator" / "evaluation").iterdir()
    metrics = tfma.load_eval_result(str(evaluation)).get_metrics_for_slice()
    assert metrics["example_count"]["doubleValue"] == 600  # 60 test requests with 10 exposed each
    from runs.evaluate import metrics_of, score

    found = metrics_of(score(pushed[1]["model"], folder / "data", "test"), resamples=0)
    # TFMA's AUC has 10,000 thresholds; ours is exact.
    assert metrics["auc"]["doubleValue"] == pytest.approx(found["auc"], abs=1e-3)
    assert metrics["calibration"]["doubleValue"] == pytest.approx(found["calibration"], rel=1e-4)


def test_served_lists_equal_the_trainers_and_do_not_depend_on_the_other_candidates(pushed):
    from serving.client import PredictClient
    from serving.contract import read_contract
    from serving.export.golden import read_golden
    from serving.export.requests import request_inputs
    from serving.server.server import LocalServer
    from serving.versions import model_bases
    from transforms.features import FeatureSet

    folder, result = pushed
    features = FeatureSet.model_validate(read_contract(result["model"])["feature_set"])
    # A row has one last hidden layer, a request one a candidate, for which nobody asks.
    assert "last_hidden" not in read_contract(result["model"])["signatures"]
    examples, expected = read_golden(result["model"])
    inputs = request_inputs(examples, features, "request")
    with LocalServer(model_bases(folder / "root")) as server:
        server.wait_ready(60)
        with PredictClient(server.address) as client:
            served = client.predict("simulated_deepfm", inputs).outputs["probability"]
            for name, values in inputs.items():
                column = features.column(name)
                if column.entity == "item":
                    inputs[name] = values.copy()
                    inputs[name][:, 60:] = 0 if name == "candidate" else column.marker
            shorter = client.predict("simulated_deepfm", inputs).outputs["probability"]
    assert served.shape == (60, 100)
    np.testing.assert_allclose(served, expected, atol=1e-5)
    np.testing.assert_allclose(shorter[:, :60], expected[:, :60], atol=1e-5)
    assert np.abs(shorter[:, 60:] - expected[:, 60:]).max() > 1e-3
