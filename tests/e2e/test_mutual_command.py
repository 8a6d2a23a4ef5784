"""Mutual learning as a run: pretrained, finetuned, exported as one plain model; and what is refused at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.helpers.command_line import Answer, consort
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_learnable

pytestmark = pytest.mark.e2e

_PEERS = {"name": "mutual_learning", "options": {"models": ["deepfm", "dcn"], "learning_rate": 0.001}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutual")
    write_learnable(path / "data")
    (path / "run.yaml").write_text(small_config().to_yaml())
    return path


def _train(folder: Path, out: str, *settings: str) -> Answer:
    pairs = [part for setting in settings for part in ("--set", setting)]
    return consort("train", folder / "run.yaml", "--data", folder / "data", "--out", folder / out, *pairs)


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    recipe = yaml.safe_dump(_PEERS, default_flow_style=True, width=1000).strip()
    answer = _train(folder, "mutual", f"recipe={recipe}", "training.precision=mixed_bfloat16")
    assert answer.code == 0, answer.err
    return folder / "mutual"


def test_the_run_tells_of_each_peer_and_of_the_best(trained: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    assert [peer["model"] for peer in run["recipe"]["peers"]] == ["DeepFM", "DCN"]
    assert [entry["seed"] for entry in run["recipe"]["pretraining"]] == [1, 2]
    last, best = run["training"]["history"][-1], run["recipe"]["best_peer"]
    assert last[f"eval_logloss/peer_{best}"] == min(last[f"eval_logloss/peer_{k}"] for k in range(2))


def test_the_exported_model_is_one_peer_in_float32(trained: Path) -> None:
    reader = tf.train.load_checkpoint(str(trained / "model" / "variables" / "variables"))
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    config = json.loads((trained / "run.json").read_text())["config"]["model"]
    width = config["embedding_dim"] + 1  # With a linear weight, which DCN has on a small log, too.
    rows = max(shape[0] for shape in shapes.values() if len(shape) == 2)
    assert [shape[1] for shape in shapes.values() if len(shape) == 2 and shape[0] == rows] == [width]
    assert tf.bfloat16 not in types.values()


def test_the_exported_model_answers_as_its_trainer(trained: Path) -> None:
    from serving.export.golden import read_golden

    examples, expected = read_golden(trained / "model")
    signature = tf.saved_model.load(str(trained / "model")).signatures["examples"]
    (name,) = signature.structured_input_signature[1]
    found = signature(**{name: tf.constant(examples)})["probability"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.02


def test_finished_runs_take_the_place_of_pretraining(folder: Path) -> None:
    assert _train(folder, "first", "training.epochs=1").code == 0
    recipe = f"{{name: mutual_learning, options: {{pretrained: [{folder}/first, {folder}/first]}}}}"
    answer = _train(folder, "after", f"recipe={recipe}")
    assert answer.code == 0, answer.err
    report = json.loads((folder / "after" / "run.json").read_text())["recipe"]
    assert [entry["from"] for entry in report["pretraining"]] == [f"{folder}/first"] * 2


def test_runs_on_other_data_or_features_are_refused(folder: Path, trained: Path) -> None:
    write_learnable(folder / "other", seed=5)
    run = json.loads((trained / "run.json").read_text())
    recipe = f"{{name: mutual_learning, options: {{pretrained: [{trained}, {trained}]}}}}"
    answer = consort(
        "train", folder / "run.yaml", "--data", folder / "other", "--out", folder / "no", "--set", f"recipe={recipe}"
    )
    assert answer.code == 2 and f"a run with dataset_sha256 {run['dataset_sha256']}" in answer.err
    answer = _train(folder, "no", f"recipe={recipe}", "features.drop=[price]")
    assert answer.code == 2 and "a run with features" in answer.err
    answer = _train(folder, "no", "recipe={name: mutual_learning, options: {pretrained: [nowhere, nowhere]}}")
    assert answer.code == 2 and "expected a finished run" in answer.err
    assert not (folder / "no").exists()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("recipe={name: mutual_learning, options: {peers: 0}}", "peers is 0; expected a whole number of at least 1"),
        ("recipe={name: mutual_learning, options: {models: [deepfn]}}", "did you mean 'deepfm'"),
        ("recipe.name=mutual", "did you mean 'mutual_learning'"),
        ("training.optimizer=sgd", "expected one of 'adam', 'adagrad', 'ftrl'"),
        ("training.precision=float16", "expected one of 'auto', 'float32', 'mixed_bfloat16'"),
    ],
)
def test_wrong_recipes_are_refused_before_anything_is_written(folder: Path, setting: str, told: str) -> None:
    answer = _train(folder, "no", setting)
    assert answer.code == 2 and told in answer.err, answer.err
    assert not (folder / "no").exists()


def test_tables_above_the_limit_are_refused_with_the_figures(folder: Path) -> None:
    answer = _train(folder, "large", "training.memory_limit_gb=0.000001")
    assert answer.code == 2, answer.err
    assert "at most 0.00 GB (memory_limit_gb)" in answer.err and "hash_buckets" in answer.err
