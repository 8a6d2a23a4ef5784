"""A ranker as a teacher: its layer of raw rows is the model's own, over gRPC too; and which exports are none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.client import PredictClient
from serving.contract import CONTRACT, read_contract
from serving.export.golden import read_golden
from serving.export.requests import request_inputs
from serving.export.signatures import ServedModel
from serving.loading import Scorer
from serving.server.server import LocalServer
from serving.teacher import Teacher, find_teacher
from tests.helpers.served_towers import ToyTowers, examples_of
from tests.helpers.teachers import HIDDEN, make_teacher, teacher_features
from tests.helpers.toy_data import toy_features
from transforms.beam.transform_dataset import load_transform
from transforms.errors import InputError
from transforms.features import Column, FeatureSet
from transforms.schema import parse_spec

_RANKERS = ("deepfm", "target_attention_ranker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, Any]:
    """Rankers, exported as version 7 of `folder/served/<name>`."""
    return {name: make_teacher(folder, folder / "served" / name / "7", name) for name in _RANKERS}


@pytest.fixture(scope="module")
def ranker(folder: Path, models: dict[str, Any]) -> Path:
    assert models
    return folder / "served" / "deepfm" / "7"


def _own(folder: Path, model: Any) -> np.ndarray:
    """h of the logged rows: the model's layers on what the learned transform makes of them."""
    served = ServedModel(model, load_transform(folder / "transformed"), teacher_features(), "row")
    looked_up = model.look_up(served.features_of(examples_of(folder)))
    if model.as_sets:
        return np.asarray(model.mlp(tf.nn.relu(_first_of(model, looked_up)))[:, 0])
    embeddings = looked_up[0].numpy()
    hidden = embeddings.reshape(len(embeddings), -1)
    for depth in range(2):
        kernel, bias = (weight.numpy() for weight in model.mlp.weights[2 * depth : 2 * depth + 2])
        hidden = np.maximum(hidden @ kernel + bias, 0)
    return hidden


def _first_of(model: Any, vectors: Any) -> tf.Tensor:
    flat = [tf.reshape(part, [*part.shape[:-2], -1]) for part in (vectors.candidates, vectors.history, vectors.request)]
    products = tf.einsum("bfd,bmgd->bmfg", vectors.request, vectors.candidates)
    attended = model.attention(flat[0], flat[1], vectors.history_mask)
    seen = [flat[0], tf.reshape(products, [*products.shape[:2], -1]), attended]
    return model.first((tf.concat(seen, axis=-1), flat[2]))


@pytest.mark.parametrize("name", _RANKERS)
def test_what_it_tells_of_raw_rows_is_the_models_own_layer(folder: Path, models: dict[str, Any], name: str) -> None:
    features = toy_features()
    teacher = Teacher(find_teacher(folder / "served" / name, features), features)
    spec = parse_spec(features, "row")
    found = teacher(tf.io.parse_example(examples_of(folder), spec)).numpy()
    assert found.shape == (24, HIDDEN) and found.std() > 0.01
    np.testing.assert_allclose(found, _own(folder, models[name]), rtol=1e-4, atol=1e-6)


def test_the_signature_is_served_and_the_contract_tells_it(folder: Path, models: dict[str, Any], ranker: Path) -> None:
    told = read_contract(ranker)["signatures"]
    assert told["last_hidden"] == {
        "inputs": told["serving_default"]["inputs"],
        "outputs": {"hidden": {"dtype": "float", "shape": ["B", HIDDEN]}},
    }
    inputs = request_inputs(examples_of(folder), teacher_features(), "row")
    with LocalServer({"toy": ranker.parent}) as server:
        server.wait_ready(120)
        with PredictClient(server.address, timeout_s=20.0) as client:
            found = client.predict("toy", inputs, "last_hidden").outputs["hidden"]
            scores = client.predict("toy", inputs).outputs["probability"]
    np.testing.assert_allclose(found, _own(folder, models["deepfm"]), rtol=1e-4, atol=1e-6)
    assert scores.shape == (24,)


@pytest.mark.parametrize("name", _RANKERS)
def test_its_scores_are_the_models_too(folder: Path, models: dict[str, Any], name: str) -> None:
    path = folder / "served" / name / "7"
    examples, golden = read_golden(path)
    served = ServedModel(models[name], load_transform(folder / "transformed"), teacher_features(), "row")
    expected = tf.sigmoid(models[name](served.features_of(examples))).numpy()
    for found in (golden, Scorer(path)(examples)):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # A row has one candidate, so nothing is padded to a size that XLA knows.
    contract = read_contract(path)
    assert expected.std() > 0.01 and contract["buckets"] is None and "compiled" not in contract["signatures"]


def test_it_is_told_by_run_by_model_by_version_and_by_base(tmp_path: Path, ranker: Path) -> None:
    shutil.copytree(ranker, tmp_path / "run" / "model")
    found = {
        path: find_teacher(path, toy_features())
        for path in (tmp_path / "run", tmp_path / "run" / "model", ranker, ranker.parent)
    }
    assert [one.version for one in found.values()] == [None, None, 7, 7]
    assert {one.model for one in found.values()} == {"toy_deepfm"}
    # The same content, wherever it lies.
    assert len({one.sha256 for one in found.values()}) == 1
    assert found[tmp_path / "run"].path == str(tmp_path / "run" / "model")
    told = found[ranker].report()
    assert json.loads(json.dumps(told)) == told and told["hidden_width"] == HIDDEN
    assert told["columns"] == ["user_id", "item_id", "timestamp", "history", "price"]


def test_of_a_base_folder_it_is_the_newest_version(tmp_path: Path, ranker: Path) -> None:
    for version in ("9", "10"):
        shutil.copytree(ranker, tmp_path / version)
    assert find_teacher(tmp_path, toy_features()).version == 10


def _nothing_there(path: Path) -> Path:
    return path / "nowhere"


def _no_export(path: Path) -> Path:
    (path / "notes").mkdir()
    return path


def _without_contract(path: Path) -> Path:
    (path / CONTRACT).unlink()
    return path


def _told(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    contract = read_contract(path)
    change(contract)
    (path / CONTRACT).write_text(json.dumps(contract))
    return path


def _of_requests(path: Path) -> Path:
    return _told(path, lambda contract: contract.update(record="request"))


def _older(path: Path) -> Path:
    return _told(path, lambda contract: contract["signatures"].pop("last_hidden"))


def _without_lengths(path: Path) -> Path:
    return _told(path, lambda contract: contract["signatures"]["last_hidden"]["inputs"].pop("history_lengths"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_without_lengths, "received a model without inputs for the lengths of history, .*; expected one with these"),
        (_nothing_there, "received no such folder; expected an exported ranker of rows"),
        (_without_contract, "received no readable file .*; expected an exported ranker of rows"),
        (_of_requests, "received a ranker of request records; expected one of rows"),
        (_older, "received model 'toy_deepfm' with signatures .*; expected a ranker with the signature last_hidden"),
    ],
)
def test_what_cannot_teach_is_refused(tmp_path: Path, ranker: Path, change: Any, told: str) -> None:
    path = change(shutil.copytree(ranker, tmp_path / "copy"))
    with pytest.raises(InputError, match=f"recipe.options.teacher, {path}: {told}.*Fix: ..."):
        find_teacher(path, toy_features())


def test_a_folder_without_an_export_and_two_towers_are_refused(tmp_path: Path, towers: ToyTowers) -> None:
    with pytest.raises(InputError, match="received an? .*; expected an exported ranker of rows"):
        find_teacher(_no_export(tmp_path), toy_features())
    with pytest.raises(InputError, match="model 'towers' with signatures .*retrieve.*expected a ranker with"):
        find_teacher(towers.version, toy_features())


def _columns(*changed: Column) -> FeatureSet:
    whole, names = toy_features(), {column.name for column in changed} | {"history", "price"}
    columns = (*(column for column in whole.columns if column.name not in names), *changed)
    features = [one for one in whole.features if one.column not in ("history", "price")]
    return FeatureSet(columns=columns, features=tuple(features), vocabularies=whole.vocabularies)


def test_columns_that_the_rows_lack_are_named(ranker: Path) -> None:
    with pytest.raises(InputError, match=r"expected all that the teacher reads; it misses history, price\. Fix"):
        find_teacher(ranker, _columns())


def test_columns_of_another_kind_are_refused(ranker: Path) -> None:
    history = Column(name="history", dtype="string", entity="user", variable_length=True)
    price = Column(name="price", dtype="int64", entity="item")
    with pytest.raises(InputError, match=r"column 'price' int64 \[B\] in the dataset; expected float \[B\]"):
        find_teacher(ranker, _columns(history, price))
    single = Column(name="history", dtype="string", entity="user")
    with pytest.raises(InputError, match=r"column 'history' string \[B\] in the dataset; expected string \[B, N\]"):
        find_teacher(ranker, _columns(single, Column(name="price", dtype="float", entity="item")))


def test_one_that_changed_since_it_was_found_is_refused(tmp_path: Path, ranker: Path) -> None:
    path = shutil.copytree(ranker, tmp_path / "copy")
    found = find_teacher(path, toy_features())
    (path / "assets.extra" / "more.txt").write_text("new")
    with pytest.raises(InputError, match=f"received a teacher with sha256 .*; expected sha256 {found.sha256}"):
        Teacher(found, toy_features())


def test_one_whose_graph_is_damaged_is_refused(tmp_path: Path, ranker: Path) -> None:
    path = shutil.copytree(ranker, tmp_path / "copy")
    (path / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(InputError, match="no intact SavedModel"):
        Teacher(find_teacher(path, toy_features()), toy_features())
