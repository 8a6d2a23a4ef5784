"""Baselines of rankers on a small log: what is fitted, what is kept, and what the verdict says."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from evaluation.comparison import BaselineScores, Comparison, compare
from evaluation.metrics import row_data
from runs.baselines.beside import predictions, scores_of
from runs.baselines.boosting import boosted
from runs.baselines.cache import FOLDER, Predictions
from runs.baselines.design import Examples
from runs.baselines.verdict import baseline_lines, failed_gains, warnings_of
from runs.evaluate import LOGGED_SCORE, Scored, ScoredRequests, prepared_of
from tests.helpers.toy_data import write_learnable
from transforms.features import Encoding, Feature, FeatureSet, Split
from transforms.records import Dataset, load_dataset, shard_paths
from transforms.schema import parse_spec


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "data"
    write_learnable(folder)
    return folder


def _features(dataset: Dataset) -> FeatureSet:
    chosen = (Feature(name="item_id", encoding=Encoding.ID), Feature(name="price", encoding=Encoding.IDENTITY))
    return FeatureSet(columns=dataset.feature_set.columns, features=chosen)


def _raw(log: Path, split: Split) -> dict[str, np.ndarray]:
    dataset = load_dataset(log)
    spec = parse_spec(dataset.feature_set, "row", ("item_id", "price", "label"))
    examples = list(tf.data.TFRecordDataset(shard_paths(log, dataset, "row", split)))
    return {name: values.numpy() for name, values in tf.io.parse_example(examples, spec).items()}


def _items(values: np.ndarray) -> np.ndarray:
    return np.array([int(value[1:]) + 1 for value in values])


def _predicted(log: Path, calls: list[str]) -> Predictions:
    dataset = load_dataset(log)
    spec = parse_spec(dataset.feature_set, "row", ("item_id", "price"))

    def encode(examples: tf.Tensor) -> dict[str, np.ndarray]:
        raw = {name: values.numpy() for name, values in tf.io.parse_example(examples, spec).items()}
        return {"item_id": _items(raw["item_id"]), "price": raw["price"]}

    def learned():
        calls.append("asked")
        return encode

    files = shard_paths(log, dataset, "row", "test")
    made = predictions(log, dataset, _features(dataset), "row", learned, files, {})
    assert made is not None
    return made


def test_logistic_regression_and_the_mean_rate_are_those_of_train(log: Path) -> None:
    result, train, test = _predicted(log, []), _raw(log, "train"), _raw(log, "test")

    def columns(raw: dict[str, np.ndarray]) -> np.ndarray:
        price = (raw["price"] - train["price"].mean()) / train["price"].std()
        return np.column_stack([np.eye(21)[_items(raw["item_id"])], price])

    c = result.notes["logistic_regression"]["c"]
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=2000).fit(columns(train), train["label"])
    expected = reference.predict_proba(columns(test))[:, 1]
    np.testing.assert_allclose(result.arrays["logistic_regression"], expected, atol=1e-3)
    np.testing.assert_allclose(result.arrays["mean_rate"], train["label"].mean())
    assert result.notes["fitted_on"] == 3000


def test_gradient_boosting_is_lightgbm_on_the_columns_as_they_are() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(3)
    columns = np.column_stack([random.normal(size=(900, 2)), random.integers(0, 5, (900, 2))])
    logit = columns[:, 0] - 0.8 * (columns[:, 2] == 3) + 0.5 * columns[:, 1] * (columns[:, 3] > 2)
    label = (random.random(900) < 1 / (1 + np.exp(-logit))).astype(float)
    parts = [
        Examples(columns[rows, 2:].astype(np.int64), columns[rows, :2], (), label[rows], np.ones(len(label[rows])))
        for rows in (slice(0, 600), slice(600, 900))
    ]
    made = boosted(*parts)
    assert made is not None
    reference = lightgbm.LGBMClassifier(n_estimators=300, learning_rate=0.05, num_leaves=31, random_state=1)
    stop = lightgbm.early_stopping(20, verbose=False)
    held_out = [(columns[600:], label[600:])]
    reference.fit(columns[:600], label[:600], eval_set=held_out, categorical_feature=[2, 3], callbacks=[stop])
    assert 0 < made.trees == reference.best_iteration_ < 300
    np.testing.assert_allclose(made.predict(parts[1]), reference.predict_proba(columns[600:])[:, 1], atol=1e-3)


def test_the_logging_policy_is_ranked_by_its_logged_score() -> None:
    random = np.random.default_rng(4)
    shown, logged = random.random((60, 8)) < 0.6, random.normal(size=(60, 8))
    label = (shown & (random.random((60, 8)) < 1 / (1 + np.exp(-logged)))).astype(float)
    requests = ScoredRequests(
        np.ones((60, 8), bool), shown, label, random.random((60, 8)), np.arange(60), {LOGGED_SCORE: logged}
    )
    request = np.repeat(np.arange(60), shown.sum(axis=1))
    extra = {LOGGED_SCORE: logged[shown]}
    scored = Scored(label[shown], requests.probability[shown], request, request, extra, requests=requests)
    policy = compare(prepared_of(scored), scores_of(scored, None), 0).baselines["logging_policy"]
    assert policy["auc"] == pytest.approx(roc_auc_score(label[shown], logged[shown]), abs=1e-6)
    assert "logloss" not in policy


def test_predictions_are_kept_beside_the_dataset_until_it_changes(log: Path) -> None:
    calls: list[str] = []
    first = _predicted(log, calls)
    (kept,) = (log / FOLDER).glob("*.npz")
    calls.clear()
    again = _predicted(log, calls)
    assert not calls and again.notes == first.notes
    np.testing.assert_array_equal(again.arrays["logistic_regression"], first.arrays["logistic_regression"])
    kept.write_bytes(kept.read_bytes()[:100])
    assert _predicted(log, calls).notes == first.notes and len(calls) == 1
    dataset = load_dataset(log)
    os.utime(shard_paths(log, dataset, "row", "train")[0], (1, 1))
    _predicted(log, calls)
    assert len(calls) == 2


def test_nothing_is_kept_in_a_folder_that_is_read_only(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kept in (log / FOLDER).glob("*.npz"):
        kept.unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert _predicted(log, []).arrays
    assert not list((log / FOLDER).glob("*.npz"))


@pytest.fixture
def comparisons() -> dict[str, Comparison]:
    random = np.random.default_rng(0)
    label = (random.random(800) < 0.4).astype(float)
    good = np.clip(0.4 + 0.2 * (label - 0.4) + random.normal(0, 0.15, 800), 0.01, 0.99)
    others = {"mean_rate": BaselineScores(np.full(800, 0.4)), "logistic_regression": BaselineScores(good)}
    better = np.clip(good + 0.1 * (label - 0.5), 0.01, 0.99)
    models = {"noise": random.random(800), "same": good, "better": better}
    return {name: compare(row_data(label, model), others, 60) for name, model in models.items()}


def test_a_model_that_learned_nothing_is_said_to_be_no_better(comparisons: dict[str, Comparison]) -> None:
    naive, worse = warnings_of(comparisons["noise"])
    assert "not significantly better than the baseline mean_rate: gain in auc" in naive
    assert "significantly worse than the baseline logistic_regression" in worse
    assert warnings_of(comparisons["same"]) == [] and warnings_of(comparisons["better"]) == []


def _report(comparison: Comparison) -> dict[str, Any]:
    return {**comparison.metrics, "gain": comparison.gain}


def test_the_gate_wants_the_gain_over_the_best_and_more_than_chance_over_the_naive(
    comparisons: dict[str, Comparison],
) -> None:
    assert failed_gains(_report(comparisons["noise"]), None) == []
    assert (
        failed_gains(_report(comparisons["same"]), 0.0) == []
        and failed_gains(_report(comparisons["better"]), 0.01) == []
    )
    (reason,) = failed_gains(_report(comparisons["same"]), 0.01)
    assert "over the baseline logistic_regression; at least +0.01 is needed" in reason
    # However low the bound, noise is not significantly better than the mean rate.
    assert any("mean_rate" in reason for reason in failed_gains(_report(comparisons["noise"]), -1.0))
    assert failed_gains({"auc": 0.7}, 0.0)


def test_the_table_marks_the_best_value_of_each_metric(comparisons: dict[str, Comparison]) -> None:
    comparison = comparisons["better"]
    report = {"split": "eval", **_report(comparison), "baselines": comparison.baselines}
    header, model, mean_rate, *_ = baseline_lines(report)
    assert header.split() == ["eval", "split", "auc", "logloss", "gain", "in", "auc"]
    assert model.count("*") == 2 and "*" not in mean_rate
    gain = comparison.gain["mean_rate"]
    assert f"0.5000  {comparison.baselines['mean_rate']['logloss']:.4f}" in mean_rate.replace("   ", "  ")
    assert mean_rate.endswith(f"{gain['auc']:+.4f} [{gain['auc_low']:+.4f}, {gain['auc_high']:+.4f}]")
    assert baseline_lines(dict(comparison.metrics)) == []
