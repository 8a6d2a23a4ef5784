"""The pipeline on learnable toy rows: what is pushed, what is stopped, and why."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pipeline_runs import CACHED, COMPLETE, FAILED, executions, run, small_config, states
from tests.helpers.toy_data import learnable_rows, toy_features, write_learnable
from transforms.batches import Batch, encode
from transforms.errors import GateRefused, InputError
from transforms.features import SPLITS
from transforms.locks import locked
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
    config = small_config(baselines=True, training={"max_steps": 12, "epochs": 1})
    return root, run(config, data / "good", root)


def versions(root):
    return sorted(path.name for path in (root / "serving" / "toy_deepfm").iterdir())


def execution_folders(root, state):
    """Folders that executions in that state left."""
    numbers = {str(number) for number, _, found in executions(root) if found == state}
    return [path for path in (root / "artifacts").rglob("*") if path.name in numbers and path.is_dir()]


def test_a_first_model_that_reaches_its_bounds_is_pushed_whole(first):
    root, result = first
    assert result["new"] and versions(root) == [str(result["version"])]
    assert result["gate"] == "passed" and f"{result['metrics']['auc']:.6g}" in Path(result["report"]).read_text()
    pushed = root / "serving" / "toy_deepfm" / str(result["version"])
    assert (pushed / "saved_model.pb").is_file() and (pushed / "assets.extra" / "contract.json").is_file()
    assert (root / "reports" / "anomalies.txt").read_text() == "no anomalies\n"


def test_the_report_has_the_model_beside_baselines(first):
    root, result = first
    compared = json.loads((root / "reports" / "evaluation.json").read_text())["evaluation"]
    assert compared["auc"] == pytest.approx(result["metrics"]["auc"], abs=1e-3)
    assert compared["baselines"]["mean_rate"]["auc"] == 0.5 and compared["gain"]["mean_rate"]["auc_low"] > 0
    value = compared["baselines"]["logistic_regression"]["auc"]
    assert f"logistic_regression  {value:.4f}" in (root / "reports" / "evaluation.txt").read_text()


def test_the_run_is_saved_with_its_model(first, data):
    root, result = first
    contract = json.loads(
        (root / "serving/toy_deepfm" / str(result["version"]) / "assets.extra/contract.json").read_text()
    )
    saved = contract["run"]
    assert saved["seed"] == 1 and saved["config"]["training"]["max_steps"] == 12
    assert saved["dataset_sha256"] == load_dataset(data / "good").sha256
    assert saved["versions"]["tfx"] == "1.16.0" and len(saved["code_sha256"]) == 64


def test_an_identical_run_pushes_nothing_so_that_no_version_rotates_out(first, data):
    root, result = first
    before, report = versions(root), (root / "reports" / "evaluation.txt").read_text()
    again = run(small_config(baselines=True, training={"max_steps": 12, "epochs": 1}), data / "good", root)
    assert not again["new"] and again["version"] == result["version"] and versions(root) == before
    # It was not compared with itself either: the evaluation of the first run stands.
    assert (root / "reports" / "evaluation.txt").read_text() == report and "baseline  none" in report


def test_what_training_does_not_read_trains_nothing_anew(first, data):
    root, _ = first
    other = small_config(
        baselines=True,
        training={"max_steps": 12, "epochs": 1},
        gate={"min_auc": 0.51},
        pipeline={"keep_versions": 9, "slices": ["item_id"]},
    )
    assert not run(other, data / "good", root)["new"]
    assert states(root, "Trainer")[-1] == CACHED and states(root, "Evaluator")[-1] == COMPLETE
    report = (root / "reports" / "evaluation.txt").read_text()
    assert "at least 0.51" in report and "slice item_id = i3" in report


def test_a_root_in_use_is_refused_and_left_as_it_is(first, data):
    root, _ = first
    before = versions(root), states(root, "Trainer")
    with locked(root), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        run(small_config(), data / "good", root)
    assert (versions(root), states(root, "Trainer")) == before


def test_a_worse_model_than_the_blessed_one_is_not_pushed(first, data):
    root, _ = first
    before = versions(root)
    with pytest.raises(GateRefused, match=r"auc is -0\.\d+ against the blessed model's"):
        run(small_config(gate={"min_auc": 0.0, "max_calibration_error": 9.0}), data / "worse", root)
    assert versions(root) == before
    report = (root / "reports" / "evaluation.txt").read_text()
    assert report.startswith("not blessed:") and "blessed model" in report
    assert f"version {before[-1]}" in report and report.count("missed") == 1


def test_a_model_below_its_bounds_is_not_pushed(first, data):
    root, _ = first
    before = versions(root)
    with pytest.raises(GateRefused, match="it must lie between 0.999"):
        run(small_config(gate={"min_auc": 0.999}), data / "good", root)
    assert versions(root) == before


def test_a_better_model_is_pushed_beside_the_first(first, data):
    root, result = first
    failed = execution_folders(root, FAILED)
    assert failed, "the runs before were stopped by the gate"
    better = run(small_config(training={"tensorboard": True}), data / "good", root)
    assert not any(folder.exists() for folder in failed) and not execution_folders(root, FAILED)
    assert execution_folders(root, COMPLETE)
    # TensorBoard's logs outlive the checkpoints among which they were written.
    assert list((root / "tensorboard").rglob("events.out.tfevents.*")) and not list((root / "checkpoints").iterdir())
    assert better["new"] and better["version"] > result["version"]
    assert versions(root) == [str(result["version"]), str(better["version"])]


def poisoned(rows: Batch, **columns) -> Batch:
    return Batch(rows.record, rows.split, {**rows.columns, **columns})


def test_data_that_no_schema_faults_is_stopped_by_what_the_served_model_knows(first, tmp_path):
    root, _ = first
    before, batches = versions(root), []
    for seed, (split, size) in enumerate(zip(SPLITS, (3000, 500, 1000)), start=50):
        rows = learnable_rows(split, size, seed)
        label, count = (np.asarray(rows.columns[name]) for name in ("label", "count"))
        users = np.array([f"{split}{row}".encode() for row in range(size)])
        batches.append(poisoned(rows, label=1 - label, count=100 * count, user_id=users))
    write_dataset(batches, tmp_path / "data", "toy", toy_features(), {})
    config = small_config(gate={"checks": {"cardinality": "off"}})
    with pytest.raises(GateRefused) as refused:
        run(config, tmp_path / "data", root)
    assert [reason.partition(" ")[0] for reason in refused.value.reasons] == [
        "drift:count:", "served_auc:label:", "unknown_ids:user_id:"
    ]  # fmt: skip
    assert versions(root) == before and len(list((root / "profiles" / "toy_deepfm").iterdir())) == 1
    findings = json.loads((root / "reports" / "audit.json").read_text())["findings"]
    assert next(one for one in findings if one["check"] == "served_auc")["figure"] < 0.5
    assert "| `drift:count` |" in (root / "reports" / "audit.md").read_text()
    assert not any(one["check"] == "cardinality" for one in findings)


def write_with_train(folder, features, batch: Batch) -> None:
    """A dataset whose shard of the train split was made by somebody else's writer, which checks nothing."""
    import tensorflow as tf

    batches = [learnable_rows(split, size, seed) for seed, (split, size) in enumerate(zip(SPLITS, (200, 50, 50)))]
    write_dataset(batches, folder, "toy", features, {})
    with tf.io.TFRecordWriter(shard_paths(folder, load_dataset(folder), "row", "train")[0]) as writer:
        for record in encode(batch, features):
            writer.write(record)


def test_impossible_values_are_stopped_by_the_gate_with_the_reasons(tmp_path):
    train = learnable_rows("train", 200, 1)
    price, label, items = (np.asarray(train.columns[name]).copy() for name in ("price", "label", "item_id"))
    times = np.asarray(train.columns["timestamp"]) * 10**6
    price[7], label[9], items[11] = -5.0, np.nan, b""
    features = toy_features().model_copy(update={"requires_item_id": True})
    write_with_train(
        tmp_path / "data", features, poisoned(train, price=price, label=label, timestamp=times, item_id=items)
    )
    with pytest.raises(GateRefused) as refused:
        run(small_config(), tmp_path / "data", tmp_path / "root")
    report = (tmp_path / "root" / "reports" / "anomalies.txt").read_text()
    for name in ("price", "label", "timestamp", "item_id"):
        assert report.count(f"split train, column {name!r}") == 1 and f"column {name!r}" in str(refused.value)
    assert "record 11, column 'item_id': received an empty string" in report
    assert not (tmp_path / "root" / "serving").exists()


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
