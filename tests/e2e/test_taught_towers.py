"""CS3 taught by a ranker of an earlier run: trained, streamed and piped; what of it is kept, and what is refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import yaml

from runs import train
from runs.config import RunConfig, parse_config
from runs.online import learn
from runs.online.learn import OnlineSettings, learn_online
from serving.contract import CONTRACT, read_contract
from serving.export.golden import read_golden
from serving.export.requests import request_inputs
from serving.loading import Scorer
from serving.retrieval.golden import asking_saved_model, check_golden_retrieval
from serving.versions import versions_in
from tests.helpers.command_line import Answer, consort, tree
from tests.helpers.pipeline_runs import run as run_pipeline
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import learnable_rows, toy_features, write_learnable
from transforms.beam.transform_dataset import load_transform
from transforms.errors import InputError
from transforms.input import serialized
from transforms.records import load_dataset, shard_paths
from transforms.spans import cut_spans, files_of, spans_in
from transforms.stream import RowEncoder, transformed_stream
from transforms.vocabularies import in_vocabulary_ids, table_sizes
from transforms.writing import write_dataset

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("eagerly")]

_WIDTH, _BETA, _COLUMNS = 5, 0.7, ["user_id", "item_id", "timestamp", "price"]
_CASCADES = {"user_id": "user_id", "item_id": "items"}
"""Ids and their vocabularies."""


def _config(teacher: Path | str, **sections: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "toy_taught",
        "source": "toy",
        "model": {"name": "dssm", "embedding_dim": 4, "hidden_units": [8, 4]},
        "training": {"batch_size": 64, "learning_rate": 0.01, "checkpoint_steps": 5},
        "recipe": {"name": "cs3", "options": {"beta": _BETA, "teacher": str(teacher)}},
        "gate": {"min_auc": 0.2, "max_calibration_error": 9},
    }
    return parse_config(values | sections)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log, a stream of two spans, and a ranker with fewer features and with ids of its own."""
    path = tmp_path_factory.mktemp("taught")
    write_learnable(path / "log")
    rows = learnable_rows("train", 600, 1)
    # No event is there twice.
    rows = dataclasses.replace(rows, columns={**rows.columns, "request_id": np.arange(600).astype("S")})
    write_dataset([rows], path / "whole", "toy", toy_features(), {"seed": 1})
    cut_spans(path / "whole", path / "stream", 2)
    features = {"drop": ["history", "count", "item_hash"], "vocabularies": [{"name": "items", "hash_buckets": 9}]}
    model = {"name": "dcn", "embedding_dim": 2, "hidden_units": [4, _WIDTH], "options": {"structure": "stacked"}}
    config = small_config(name="toy_ranker", model=model, features=features, training={"epochs": 1})
    (path / "ranker.yaml").write_text(config.to_yaml())
    answer = consort("train", path / "ranker.yaml", "--data", path / "log", "--out", path / "ranker")
    assert answer.code == 0, answer.err
    return path


@pytest.fixture
def teacher(folder: Path, tmp_path: Path) -> Path:
    """A copy of the ranker's run, to be changed."""
    return shutil.copytree(folder / "ranker" / "model", tmp_path / "ranker" / "model").parent


def _train(folder: Path, out: Path, teacher: Path | str, *settings: str) -> Answer:
    file = out.with_suffix(".yaml")
    file.write_text(_config(teacher).to_yaml())
    pairs = [part for setting in settings for part in ("--set", setting)]
    return consort("train", file, "--data", folder / "log", "--out", out, *pairs)


@pytest.fixture(scope="module")
def taught(folder: Path) -> Path:
    answer = _train(folder, folder / "taught", folder / "ranker")
    assert answer.code == 0, answer.err
    return folder / "taught"


def _expected(folder: Path, files: Sequence[str], transform: tft.TFTransformOutput) -> dict[str, np.ndarray]:
    """What the caches must hold after these files: a loop over what the exported ranker answers."""
    sizes = table_sizes(toy_features(), transform)
    known = in_vocabulary_ids(toy_features(), sizes)
    held = {name: np.zeros([sizes[vocabulary], _WIDTH]) for name, vocabulary in _CASCADES.items()}
    ranker = tf.saved_model.load(str(folder / "ranker" / "model"))
    ask = ranker.signatures["last_hidden"]
    raw, batches = serialized(files, 50), transformed_stream(files, 50, RowEncoder(transform, toy_features()))
    for examples, batch in zip(raw, batches, strict=True):
        inputs = request_inputs(list(examples.numpy()), toy_features(), "row", _COLUMNS)
        hidden = ask(**{name: tf.constant(values) for name, values in inputs.items()})["hidden"].numpy()
        for name, vocabulary in _CASCADES.items():
            for own, h in zip(batch[name].numpy(), hidden, strict=True):
                if 0 < own < known[vocabulary]:
                    held[name][own] = _BETA * held[name][own] + (1 - _BETA) * h
    return held


def _held(version: Path) -> list[np.ndarray]:
    """What the caches of an exported model hold of a ranker."""
    variables = tf.saved_model.load(str(version))._variables
    return [one.numpy() for one in variables if one.name.startswith("vectors") and one.shape[1] == _WIDTH]


def _check_caches(version: Path, expected: dict[str, np.ndarray]) -> None:
    found = {len(values): values for values in _held(version)}
    assert len(found) == 2
    for name, values in expected.items():
        assert (values != 0).any(axis=1).sum() > 15, name
        np.testing.assert_allclose(found[len(values)], values, rtol=1e-3, atol=1e-5, err_msg=name)


def _check_export(version: Path) -> None:
    examples, expected = read_golden(version)
    np.testing.assert_allclose(Scorer(version)(examples), expected, atol=1e-5)
    check_golden_retrieval(version, asking_saved_model(version))
    assert "last_hidden" not in read_contract(version)["signatures"] and expected.std() > 0.005


def test_the_caches_hold_what_the_ranker_makes_of_the_raw_rows(folder: Path, taught: Path) -> None:
    files = shard_paths(folder / "log", load_dataset(folder / "log"), "row", "train")
    _check_caches(taught / "model", _expected(folder, files, load_transform(taught / "transformed")))


def test_the_export_scores_as_its_trainer_and_needs_no_teacher(folder: Path, taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "alone")
    (folder / "ranker").rename(folder / "elsewhere")
    try:
        _check_export(tmp_path / "alone" / "model")
        assert consort("evaluate", tmp_path / "alone", "--data", folder / "log", "--resamples", 0).code == 0
    finally:
        (folder / "elsewhere").rename(folder / "ranker")


def test_the_run_tells_the_teacher_and_nothing_of_a_ranker_beside(folder: Path, taught: Path) -> None:
    run = json.loads((taught / "run.json").read_text())
    told = run["recipe"]["teacher"]
    assert told["path"] == str(folder / "ranker" / "model") and told["model"] == "toy_ranker"
    assert (told["version"], told["hidden_width"], told["columns"]) == (None, _WIDTH, _COLUMNS)
    assert run["teacher_sha256"] == told["sha256"] and len(told["sha256"]) == 64
    assert run["recipe"]["recipe"] == "cs3" and "ranker" not in run["recipe"]
    row = run["training"]["history"][-1]
    assert {"loss/bce", "logloss/towers", "eval_auc/towers"} <= set(row)
    assert not [name for name in row if "ranker" in name]


class _Killed(BaseException):
    pass


def _kill(*_: Any, **__: Any) -> Any:
    raise _Killed


def test_a_killed_run_goes_on_unless_its_teacher_has_changed(
    folder: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, config = tmp_path / "run", _config(teacher)
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(train, "fit_task", _kill)
        train.train_run(config, folder / "log", out)
    before, file = tree(out), teacher / "model" / "assets.extra" / "golden.json"
    kept = file.read_text()
    file.write_text(kept + "\n")
    with pytest.raises(InputError, match="received another teacher; expected what that run was started with"):
        train.train_run(config, folder / "log", out)
    assert tree(out) == before
    file.write_text(kept)
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(train, "fit_task", _kill)
        train.train_run(config, folder / "log", out)


def test_a_teacher_that_changes_while_the_run_transforms_is_refused(
    folder: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = train._prepare

    def changing(*arguments: Any) -> None:
        prepare(*arguments)
        (teacher / "model" / "more.txt").write_text("new")

    monkeypatch.setattr(train, "_prepare", changing)
    with pytest.raises(InputError, match="received a teacher with sha256 .*; expected sha256 .*, as before"):
        train.train_run(_config(teacher), folder / "log", tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def _changed(teacher: Path, change: Callable[[dict[str, Any]], object]) -> None:
    contract = read_contract(teacher / "model")
    change(contract)
    (teacher / "model" / CONTRACT).write_text(json.dumps(contract))


def _add_column(contract: dict[str, Any]) -> None:
    inputs = contract["signatures"]["last_hidden"]["inputs"]
    inputs["clicks_so_far"] = dict(inputs["price"])


@pytest.mark.parametrize(
    ("change", "settings", "told"),
    [
        (
            lambda it: None,
            ("recipe.options.teacher=nowhere",),
            "nowhere: received no such folder; expected an exported",
        ),
        (lambda it: None, ("recipe.options.cms=false",), "and cms False; expected cms True"),
        (lambda it: None, ("model.name=deepfm",), "expected two towers"),
        (lambda it: None, ("record=request",), "records of kind request"),
        (lambda it: shutil.rmtree(it / "model"), (), "received an empty folder; expected an exported ranker"),
        (lambda it: _changed(it, lambda one: one.update(record="request")), (), "received a ranker of request records"),
        (
            lambda it: _changed(it, lambda one: one["signatures"].pop("last_hidden")),
            (),
            "the signature last_hidden. Fix",
        ),
        (lambda it: _changed(it, _add_column), (), "it misses clicks_so_far. Fix: choose a ranker"),
    ],
)
def test_what_cannot_teach_is_refused_before_anything_is_written(
    folder: Path, teacher: Path, tmp_path: Path, change: Any, settings: tuple[str, ...], told: str
) -> None:
    change(teacher)
    answer = _train(folder, tmp_path / "run", teacher, *settings)
    assert answer.code == 2 and told in answer.err, answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", [("pipeline", "run"), ("online",)])
def test_the_other_verbs_refuse_it_likewise(folder: Path, tmp_path: Path, verb: tuple[str, ...]) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(_config("nowhere").model_dump(mode="json")))
    places = {"pipeline": ("--data", folder / "log", "--root"), "online": ("--stream", folder / "stream", "--out")}
    answer = consort(*verb, tmp_path / "run.yaml", *places[verb[0]], tmp_path / "out")
    assert answer.code == 2 and "recipe.options.teacher, nowhere: received no such folder" in answer.err, answer.err
    assert not (tmp_path / "out").exists()


def test_a_stream_is_learned_from_with_it_and_goes_on_unless_it_has_changed(
    folder: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out, settings = _config(teacher), tmp_path / "out", OnlineSettings()
    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(learn._Learner, "_end", _kill)
        learn_online(config, folder / "stream", out, tmp_path / "served", settings)
    before, file = tree(out), teacher / "model" / "assets.extra" / "golden.json"
    kept = file.read_text()
    file.write_text(kept + "\n")
    with pytest.raises(InputError, match="received another teacher; expected what that run was started with"):
        learn_online(config, folder / "stream", out, tmp_path / "served", settings)
    assert tree(out) == before
    file.write_text(kept)
    report = learn_online(config, folder / "stream", out, tmp_path / "served", settings)
    assert report["events"] == 600 and report["recipe"]["teacher"]["model"] == "toy_ranker"
    assert "logloss/towers" in report["spans"][-1] and "logloss/ranker" not in report["spans"][-1]
    versions = versions_in(tmp_path / "served" / "toy_taught")
    assert len(versions) == 2
    files = [file for span in spans_in(folder / "stream") for file in files_of(span, load_dataset(span))]
    _check_caches(versions[-1][1], _expected(folder, files, load_transform(out / "transform")))
    _check_export(versions[-1][1])


def test_a_search_trains_with_it_and_goes_on_unless_it_has_changed(folder: Path, teacher: Path, tmp_path: Path) -> None:
    config = _config(teacher, tuning={"max_trials": 1, "space": {"training.learning_rate": [0.01]}})
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    command = ("tune", tmp_path / "run.yaml", "--data", folder / "log", "--out", tmp_path / "out")
    assert (answer := consort(*command)).code == 0, answer.err
    found = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert found["completed"] == 1 and found["recipe"]["teacher"]["model"] == "toy_ranker"
    (teacher / "model" / "more.txt").write_text("new")
    answer = consort(*command)
    assert answer.code == 2 and "received another teacher; expected what that search" in answer.err, answer.err


def test_a_pipeline_pushes_towers_that_it_taught(folder: Path, tmp_path: Path) -> None:
    result = run_pipeline(_config(folder / "ranker"), folder / "log", tmp_path / "root")
    version = Path(result["model"])
    _check_export(version)
    (transformed,) = (tmp_path / "root" / "artifacts" / "Transform" / "transform_graph").iterdir()
    files = shard_paths(folder / "log", load_dataset(folder / "log"), "row", "train")
    _check_caches(version, _expected(folder, files, tft.TFTransformOutput(str(transformed))))
    told = read_contract(version)["run"]["recipe"]["teacher"]
    assert told["path"] == str(folder / "ranker" / "model") and told["hidden_width"] == _WIDTH
