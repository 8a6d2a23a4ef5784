"""The pipeline on learnable toy rows: what is pushed, what is stopped, and why."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pipeline_runs import run, small_config
from tests.helpers.toy_data import learnable_rows, toy_features, write_learnable
from transforms.batches import Batch, encode
from transforms.errors import GateRefused, InputError
from transforms.features import SPLITS
from transforms.records import load_dataset, shard_paths
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnable")
    write_learnable(folder / "good")
    write_learnable(folder / "worse", noise=0.9, seed=11)
    return folder


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """The root of a first run, which pushed a model trained for one short epoch."""
    root = tmp_path_factory.mktemp("pipeline") / "root"
    config = small_config(training={"max_steps": 12, "epochs": 1})
    return root, run(config, data / "good", root)


def versions(root):
    return sorted(path.name for path in (root / "serving" / "toy_deepfm").iterdir())


def test_a_first_model_that_reaches_its_bounds_is_pushed_whole(first):
    root, result = first
    assert result["new"] and versions(root) == [str(result["version"])]
    pushed = root / "serving" / "toy_deepfm" / str(result["version"])
    assert (pushed / "saved_model.pb").is_file() and (pushed / "assets.extra" / "contract.json").is_file()
    assert (root / "reports" / "anomalies.txt").read_text() == "no anomalies\n"


def test_the_run_is_saved_with_its_model(first, data):
    root, result = first
    contract = json.loads(
        (root / "serving/toy_deepfm" / str(result["version"]) / "assets.extra/contract.json").read_text()
    )
    saved = contract["run"]
    assert saved["seed"] == 1 and saved["config"]["training"]["max_steps"] == 12
    assert saved["dataset_sha256"] == load_dataset(data / "good").sha256
    assert saved["versions"]["tfx"] == "1.16.0" and len(saved["code_sha256"]) == 64


def test_a_worse_model_than_the_blessed_one_is_not_pushed(first, data):
    root, _ = first
    before = versions(root)
    with pytest.raises(GateRefused, match=r"auc is -0\.\d+ against the blessed model's"):
        run(small_config(gate={"min_auc": 0.0, "max_calibration_error": 9.0}), data / "worse", root)
    assert versions(root) == before
    assert "blessed model" in (root / "reports" / "evaluation.txt").read_text()


def test_a_model_below_its_bounds_is_not_pushed(first, data):
    root, _ = first
    before = versions(root)
    with pytest.raises(GateRefused, match="it must lie between 0.999"):
        run(small_config(gate={"min_auc": 0.999}), data / "good", root)
    assert versions(root) == before


def test_a_better_model_is_pushed_beside_the_first(first, data):
    root, result = first
    better = run(small_config(), data / "good", root)
    assert better["new"] and better["version"] > result["version"]
    assert versions(root) == [str(result["version"]), str(better["version"])]


def poisoned(rows: Batch, **columns) -> Batch:
    return Batch(rows.record, rows.split, {**rows.columns, **columns})


def test_impossible_values_are_stopped_by_the_gate_with_the_reason(tmp_path):
    train = learnable_rows("train", 200, 1)
    price = np.asarray(train.columns["price"]).copy()
    price[7] = -5.0
    batches = [poisoned(train, price=price), learnable_rows("eval", 50, 2), learnable_rows("test", 50, 3)]
    write_dataset(batches, tmp_path / "data", "toy", toy_features(), {})
    with pytest.raises(GateRefused, match="split train, column 'price'"):
        run(small_config(), tmp_path / "data", tmp_path / "root")
    assert not (tmp_path / "root" / "serving").exists()
    assert "price" in (tmp_path / "root" / "reports" / "anomalies.txt").read_text()


def test_a_missing_feature_is_stopped_by_the_gate_with_the_reason(tmp_path):
    import tensorflow as tf

    batches = [learnable_rows(split, 200, seed) for seed, split in enumerate(SPLITS)]
    write_dataset(batches, tmp_path / "data", "toy", toy_features(), {})
    dataset = load_dataset(tmp_path / "data")
    path = shard_paths(tmp_path / "data", dataset, "row", "train")[0]
    with tf.io.TFRecordWriter(path) as writer:
        for record in encode(batches[0], toy_features()):
            example = tf.train.Example.FromString(record)
            del example.features.feature["price"]
            writer.write(example.SerializeToString())
    with pytest.raises(GateRefused, match="split train, column 'price'"):
        run(small_config(), tmp_path / "data", tmp_path / "root")


def test_a_damaged_record_file_stops_the_run_and_is_named(data, tmp_path):
    shutil.copytree(data / "good", tmp_path / "data")
    path = Path(shard_paths(tmp_path / "data", load_dataset(tmp_path / "data"), "row", "eval")[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"eval/data-00000.*after record .* a damaged record"):
        run(small_config(), tmp_path / "data", tmp_path / "root")


def test_a_dataset_of_another_source_is_refused_before_anything_is_written(data, tmp_path):
    with pytest.raises(InputError, match="a dataset of source 'toy'"):
        run(small_config(source="criteo"), data / "good", tmp_path / "root")
    assert not (tmp_path / "root").exists()
