"""Runs that are too short to learn say so, and presets for large files take smaller batches of small ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from consort.config import load_config
from models.cotraining.base import Trained
from models.training.fit import FitResult
from runs.config import TrainingConfig
from runs.data import batch_size_of, changed_batches, mean_label, starts_linear
from runs.fitting import warnings_of
from tests.helpers.toy_data import learnable_rows, toy_features, write_learnable
from transforms.features import RecordKind
from transforms.records import shard_paths
from transforms.schema import parse_spec

_HALF = float(np.log(2))
"""Log loss of always saying one half, the entropy of labels of which half are 1."""


def _trained(steps: int, report: dict[str, Any] | None = None, **best: float) -> Trained:
    return Trained(None, FitResult(steps, 1, 1, (), None, None, None, False, best), report or {})


@pytest.mark.parametrize(
    ("batch_size", "least", "examples", "expected"),
    [(4000, 1, 8000, 4000), (4000, 200, 8000, 40), (4000, 200, 10**6, 4000), (10, 200, 8000, 10), (4000, 200, 50, 1)],
)
def test_batches_are_smaller_where_an_epoch_would_be_too_short(
    batch_size: int, least: int, examples: int, expected: int
) -> None:
    training = TrainingConfig(batch_size=batch_size, min_steps_per_epoch=least)
    assert batch_size_of(training, examples) == expected
    told = changed_batches(training, examples)
    assert (told is not None) == (expected < batch_size)
    if told is not None:
        assert f"batches of {expected} in the place of batch_size {batch_size}" in told


def test_a_small_log_starts_from_a_logistic_regression_unless_the_run_file_decides() -> None:
    assert starts_linear(TrainingConfig(), 100_000)
    assert not starts_linear(TrainingConfig(), 100_001)
    assert not starts_linear(TrainingConfig(distribution="multi_worker", linear_start=True), 10)
    assert starts_linear(TrainingConfig(linear_start=True), 10**6)
    assert not starts_linear(TrainingConfig(linear_start=False), 10)


@pytest.mark.parametrize(
    ("record", "examples", "epochs", "expected"),
    [
        ("row", 8_000, 1, 16),
        ("row", 60_000, 1, 128),
        ("row", 60_000, 3, 256),
        ("row", 10**7, 1, 1024),
        ("row", 10, 1, 10),
        ("request", 5_000, 1, 8),
        ("request", 10**6, 1, 64),
    ],
)
def test_without_a_batch_size_the_data_chooses_one(
    record: RecordKind, examples: int, epochs: int, expected: int
) -> None:
    training = TrainingConfig(epochs=epochs)
    assert batch_size_of(training, examples, record) == expected
    if examples > 10:
        # Twice the size would not do, or would be more than fits.
        assert examples * epochs // expected >= 400 and (
            expected in (1024, 64) or examples * epochs // (2 * expected) < 400
        )
    reported = changed_batches(training, examples, record)
    assert reported == f"batch_size {expected}, as {examples:,} records and {epochs} epochs need it"


@pytest.mark.parametrize("preset", ["criteo_mutual", "avazu_mutual"])
def test_the_presets_of_whole_files_learn_from_8000_rows(preset: str) -> None:
    training = load_config(preset).training
    assert 8000 // batch_size_of(training, 8000) >= 200
    assert batch_size_of(training, 40_000_000) == training.batch_size == 4000


def test_a_run_of_two_steps_is_told_with_its_numbers_and_the_remedy() -> None:
    (told,) = warnings_of(_trained(2, eval_logloss=0.5), TrainingConfig(batch_size=4000), 8000, 0.5)
    assert "2 optimizer steps of batch_size 4000 on 8,000 records" in told and "set training.batch_size to 20" in told


def test_a_run_that_max_steps_ended_is_told_to_raise_it() -> None:
    (told,) = warnings_of(_trained(5, eval_logloss=0.5), TrainingConfig(batch_size=8, max_steps=5), 8000, 0.5)
    assert "raise training.max_steps, which is 5" in told


def test_a_model_no_better_than_the_mean_is_told() -> None:
    training = TrainingConfig(batch_size=8)
    assert warnings_of(_trained(1000, eval_logloss=0.99 * _HALF), training, 8000, 0.5) == []
    (told,) = warnings_of(_trained(1000, eval_logloss=1.01 * _HALF), training, 8000, 0.5)
    assert "normalized entropy 1.0100" in told and "1000 optimizer steps" in told


def test_the_remedy_of_a_short_run_that_learned_nothing_is_given_once() -> None:
    short, bad = warnings_of(_trained(2, eval_logloss=_HALF), TrainingConfig(batch_size=4000), 8000, 0.5)
    assert "set training.batch_size to 20" in short
    assert bad.endswith("normalized entropy 1.0000 on the eval split; expected below 1")


def test_of_peers_the_one_that_is_served_counts_with_its_pretraining() -> None:
    losses = {"eval_logloss": _HALF * 2, "eval_logloss/peer_0": _HALF * 2, "eval_logloss/peer_1": _HALF * 0.9}
    report = {"best_peer": 1, "pretraining": [{"steps": 1}, {"steps": 300}]}
    assert warnings_of(_trained(2, report, **losses), TrainingConfig(), 8000, 0.5) == []
    few = {**report, "pretraining": [{"steps": 300}, {"steps": 4}]}
    (told,) = warnings_of(_trained(2, few, **losses), TrainingConfig(), 8000, 0.5)
    assert "6 optimizer steps" in told


def test_without_an_evaluation_only_the_steps_are_looked_at() -> None:
    assert warnings_of(_trained(1000), TrainingConfig(), 8000, None) == []


def test_the_mean_label_of_rows_is_that_of_the_file(tmp_path: Path) -> None:
    dataset = write_learnable(tmp_path / "data")
    files = shard_paths(tmp_path / "data", dataset, "row", "train")
    label = np.asarray(learnable_rows("train", 3000, 1).columns["label"])
    assert mean_label(files, parse_spec(toy_features(), "row")) == pytest.approx(float(np.mean(label)), rel=1e-6)


def test_the_mean_label_of_requests_is_over_what_was_shown(tmp_path: Path) -> None:
    def floats(*values: float) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def ints(*values: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    columns = {"label": floats(1, 0, 1, 1), "exposed": ints(1, 1, 0, 1), "candidate": ints(1, 1, 1, 0)}
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=columns)).SerializeToString())
    kinds = {"label": tf.float32, "exposed": tf.int64, "candidate": tf.int64}
    spec = {name: tf.io.FixedLenFeature([4], kind) for name, kind in kinds.items()}
    assert mean_label([str(tmp_path / "x")], spec) == 0.5
    assert mean_label([], spec) is None


def test_a_run_that_ran_out_of_patience_is_not_too_short() -> None:
    stopped = Trained(None, FitResult(52, 2, 0, (), None, None, None, True, {"eval_logloss": 0.4}), {})
    assert warnings_of(stopped, TrainingConfig(batch_size=256, epochs=5), 6400, 0.5) == []
    assert len(warnings_of(_trained(52, eval_logloss=0.4), TrainingConfig(batch_size=256), 6400, 0.5)) == 1
