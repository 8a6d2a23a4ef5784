"""Whatever trains or evaluates refuses values that no column may have, whoever wrote the shards."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from runs.evaluate import score
from runs.online.learn import OnlineSettings, learn_online
from runs.train import train_run
from runs.tuning.search import tune_run
from serving.contract import CONTRACT, CONTRACT_VERSION
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import learnable_rows, toy_features, write_learnable
from transforms.batches import Batch, encode
from transforms.errors import InputError
from transforms.features import SPLITS, Split
from transforms.records import load_dataset, shard_paths
from transforms.spans import cut_spans

WRONG = "record 3, column 'label': received 2; expected a finite number from 0 to 1"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_learnable(folder / "data")
    cut_spans(folder / "data", folder / "stream", 2)
    return folder


def spoil(folder: Path, split: Split) -> None:
    """Another writer's label of 2 in the fourth record of a split; dataset.json knows nothing of it."""
    rows = learnable_rows(split, 50, 1)
    label = np.asarray(rows.columns["label"]).copy()
    label[3] = 2.0
    with tf.io.TFRecordWriter(shard_paths(folder, load_dataset(folder), "row", split)[0]) as writer:
        for record in encode(Batch("row", split, {**rows.columns, "label": label}), toy_features()):
            writer.write(record)


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_is_trained_or_searched_on_a_wrong_value(good, tmp_path, split):
    shutil.copytree(good / "data", tmp_path / "data")
    spoil(tmp_path / "data", split)
    tuned = small_config(tuning={"max_trials": 1, "space": {"training.learning_rate": [0.01, 0.02]}})
    for run, config in ((train_run, small_config()), (tune_run, tuned)):
        with pytest.raises(InputError, match=f"row/{split}/data-00000-of-00001.tfrecord, {WRONG}"):
            run(config, tmp_path / "data", tmp_path / "run")
        assert not any(path.is_file() and "lock" not in path.name for path in (tmp_path / "run").rglob("*"))


def test_nothing_is_evaluated_on_a_wrong_value(good, tmp_path):
    shutil.copytree(good / "data", tmp_path / "data")
    spoil(tmp_path / "data", "test")
    contract = {
        "contract_version": CONTRACT_VERSION,
        "record": "row",
        "feature_set": toy_features().model_dump(mode="json"),
    }
    (tmp_path / "model" / CONTRACT).parent.mkdir(parents=True)
    (tmp_path / "model" / CONTRACT).write_text(json.dumps(contract))
    with pytest.raises(InputError, match=f"row/test/data-00000-of-00001.tfrecord, {WRONG}"):
        score(tmp_path / "model", tmp_path / "data", "test")


@pytest.mark.parametrize("span", ["span-00001", "span-00002"])
def test_nothing_is_learned_from_a_span_with_a_wrong_value(good, tmp_path, span):
    shutil.copytree(good / "stream", tmp_path / "stream")
    spoil(tmp_path / "stream" / span, "train")
    with pytest.raises(InputError, match=f"{span}/row/train/data-00000-of-00001.tfrecord, {WRONG}"):
        learn_online(small_config(), tmp_path / "stream", tmp_path / "run", None, OnlineSettings())
    if span == "span-00001":
        assert not any(path.is_file() and "lock" not in path.name for path in (tmp_path / "run").rglob("*"))
