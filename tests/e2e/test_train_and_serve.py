"""Train without TFX, export, serve over gRPC, evaluate: one model, one set of scores."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_learnable
from transforms.errors import GateRefused, InputError

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def data(folder):
    write_learnable(folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def trained(folder, data):
    from runs.train import train_run

    impossible = small_config(baselines=True, gate={"min_gain_over_baseline": 0.9})
    with pytest.raises(GateRefused, match=r"over the baseline logistic_regression; at least \+0.9 is needed"):
        train_run(impossible, data, folder / "run")
    assert not (folder / "run" / "model").exists()
    # Nothing is trained again: the checkpoints are those of the run that was rejected.
    train_run(small_config(baselines=True, gate={"min_gain_over_baseline": -0.1}), data, folder / "run")
    return folder / "run"


def test_the_run_records_the_model_beside_baselines(trained):
    record = json.loads((trained / "run.json").read_text())["evaluation"]
    assert record["split"] == "eval" and record["one_record_of"] == 1
    assert set(record["baselines"]) >= {"mean_rate", "logistic_regression"}
    gain = record["gain"]["mean_rate"]
    assert gain["auc"] == pytest.approx(record["auc"] - 0.5) and gain["auc_low"] > 0


def test_baselines_are_not_fitted_on_what_is_evaluated_of_another_log(folder, data, trained):
    from runs.baselines.beside import ranking_baselines
    from runs.evaluate import score

    write_learnable(folder / "other", seed=5)
    asked = (trained / "model", folder / "other", "all")
    assert ranking_baselines(*asked) is None
    fitted = ranking_baselines(*asked, train_dir=data)
    assert fitted is not None
    np.testing.assert_allclose(fitted.arrays["mean_rate"], score(trained / "model", data, "train").label.mean())
    assert fitted.arrays["logistic_regression"].shape == score(*asked).label.shape


@pytest.fixture(scope="module")
def served(folder, trained):
    from serving.client import PredictClient
    from serving.server.server import LocalServer
    from serving.versions import model_bases, publish

    publish(trained / "model", folder / "serving" / "toy_deepfm")
    with LocalServer(model_bases(folder / "serving")) as server:
        server.wait_ready(60)
        with PredictClient(server.address) as client:
            yield client


def test_served_scores_equal_the_trainers(trained, data, served):
    from serving.export.golden import read_golden
    from serving.export.requests import request_inputs
    from transforms.records import load_dataset

    examples, expected = read_golden(trained / "model")
    inputs = request_inputs(examples, load_dataset(data).feature_set, "row")
    answer = served.predict("toy_deepfm", inputs)
    assert len(expected) == 64 and expected.std() > 0.05
    np.testing.assert_allclose(answer.outputs["probability"], expected, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-answer.outputs["logit"])), expected, atol=1e-5)


def test_a_score_does_not_depend_on_its_batch_mates_or_on_history_padding(trained, data, served):
    from serving.export.golden import read_golden
    from serving.export.requests import request_inputs
    from transforms.records import load_dataset

    examples, expected = read_golden(trained / "model")
    features = load_dataset(data).feature_set
    alone = [
        served.predict("toy_deepfm", request_inputs([e], features, "row")).outputs["probability"][0]
        for e in examples[:8]
    ]
    np.testing.assert_allclose(alone, expected[:8], atol=1e-6)
    inputs = request_inputs(examples, features, "row")
    inputs["history"] = np.concatenate([inputs["history"], np.full((len(examples), 3), b"", object)], axis=1)
    np.testing.assert_allclose(served.predict("toy_deepfm", inputs).outputs["probability"], expected, atol=1e-6)


def test_the_examples_signature_gives_the_same_scores(trained, served):
    from serving.export.golden import read_golden

    examples, expected = read_golden(trained / "model")
    answer = served.predict("toy_deepfm", {"examples": np.array(examples, object)}, signature="examples")
    np.testing.assert_allclose(answer.outputs["probability"], expected, atol=1e-6)


def test_unknown_ids_and_missing_values_are_answered(served):
    inputs = {
        "user_id": np.array([b"nobody", b""], object),
        "item_id": np.array([b"nothing", b""], object),
        "timestamp": np.array([1_700_000_000, -1]),
        "history": np.array([[b"nothing"], [b""]], object),
        "price": np.array([1e9, np.nan], np.float32),
        "count": np.array([-5.0, np.nan], np.float32),
    }
    probability = served.predict("toy_deepfm", inputs).outputs["probability"]
    assert probability.shape == (2,) and np.isfinite(probability).all()


def test_the_signature_asks_for_raw_columns_alone(served):
    signature = served.metadata("toy_deepfm")["serving_default"]
    assert set(signature.inputs) == {
        "user_id", "item_id", "timestamp", "history", "history_lengths", "price", "count",
    }  # fmt: skip
    assert set(signature.inputs) - signature.defaults == {"timestamp"}
    assert set(signature.outputs) == {"probability", "logit"}


def test_the_model_learned_and_evaluate_says_so(trained, data):
    from runs.evaluate import metrics_of, score

    scored = score(trained / "model", data, "test")
    metrics = metrics_of(scored, resamples=50)
    assert len(scored.label) == 1000
    assert 0.75 < metrics["auc_low"] < metrics["auc"] < metrics["auc_high"] < 1.0
    assert metrics["logloss"] < 0.69 and 0.8 < metrics["calibration"] < 1.25


def test_saved_graph_holds_stock_ops_alone(trained):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((trained / "model" / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    ops = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    functions = {f.signature.name for f in graph.library.function}
    known = {name for name in ops if name in functions or tf.raw_ops.__dict__.get(name) is not None}
    # Ops without a public Python wrapper, all linked into TF Serving.
    assert ops - known <= {"_Retval", "_Arg", "Const", "Placeholder", "NoOp", "SaveV2", "RestoreV2", "PartitionedCall"}


def test_a_finished_run_is_not_overwritten(trained, data):
    from runs.train import train_run

    with pytest.raises(InputError, match="a finished run"):
        train_run(small_config(), data, trained)


def test_a_folder_of_another_run_is_refused(trained, data):
    from runs.train import train_run

    with pytest.raises(InputError, match="seed 2, was 1"):
        train_run(small_config(seed=2), data, trained)


def test_the_run_folder_says_what_made_it(trained):
    saved = json.loads((trained / "run.json").read_text())
    assert saved["seed"] == 1 and saved["training"]["steps"] == 3 * 24 and saved["source"] == "toy"
    assert (trained / "config.yaml").read_text().startswith("name: toy_deepfm")
