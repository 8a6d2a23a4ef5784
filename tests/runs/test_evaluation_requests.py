"""Request records scored by an exported model, and what `consort evaluate` says of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from runs.evaluate import LOGGED_SCORE, TRUTH, Scored, metrics_of, score, splits_of
from serving.contract import CONTRACT
from serving.export.contract import contract_of
from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.command_line import consort
from tests.helpers.simulated_requests import soft_auc
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, RecordKind
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec

_REQUESTS = 40


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "data"
    world = World(users=50, items=300, candidates=20, min_candidates=12, ranked_items=10, exposed_items=4)
    simulate(folder, world, _REQUESTS, 3)
    return folder


def _model_that_reads(column: str, log: Path, folder: Path, record: RecordKind = "request") -> Path:
    """A model whose probability is the sigmoid of a column."""
    features = load_dataset(log).feature_set
    spec = parse_spec(features, record, (column,))

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"probability": tf.sigmoid(tf.io.parse_example(examples, spec)[column])}

    reader = Reader()
    tf.saved_model.save(reader, str(folder), signatures={"examples": reader.answer})
    (folder / CONTRACT).parent.mkdir(exist_ok=True)
    (folder / CONTRACT).write_text(json.dumps(contract_of("reader", features, record, {}, [1])))
    return folder


@pytest.fixture(scope="module")
def logging_policy(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _model_that_reads(LOGGED_SCORE, log, tmp_path_factory.mktemp("logging"))


@pytest.fixture(scope="module")
def oracle(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _model_that_reads(TRUTH, log, tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="module")
def scored(log: Path, logging_policy: Path) -> Scored:
    return score(logging_policy, log, "all", batch_size=7)


def _raw(log: Path) -> dict[str, np.ndarray]:
    dataset = load_dataset(log)
    files = [path for split in SPLITS for path in shard_paths(log, dataset, "request", split)]
    names = (LABEL, CANDIDATE, EXPOSED, TRUTH, LOGGED_SCORE, "user_id", "request_id")
    spec = parse_spec(dataset.feature_set, "request", names)
    examples = list(tf.data.TFRecordDataset(list(map(str, files))))
    return {name: value.numpy() for name, value in tf.io.parse_example(examples, spec).items()}


def test_all_candidates_of_each_request_are_kept(log: Path, scored: Scored) -> None:
    raw, requests = _raw(log), scored.requests
    assert requests is not None
    np.testing.assert_array_equal(requests.candidate, raw[CANDIDATE] == 1)
    np.testing.assert_array_equal(requests.exposed, raw[EXPOSED] == 1)
    np.testing.assert_array_equal(requests.user_id, raw["user_id"])
    np.testing.assert_allclose(requests.probability, 1 / (1 + np.exp(-raw[LOGGED_SCORE])), rtol=1e-5)
    for name in (TRUTH, LOGGED_SCORE):
        np.testing.assert_array_equal(requests.extra[name], raw[name])


def test_the_flat_entries_are_the_shown_candidates_as_before(log: Path, scored: Scored) -> None:
    raw = _raw(log)
    shown = raw[EXPOSED] == 1
    np.testing.assert_array_equal(scored.label, raw[LABEL][shown])
    np.testing.assert_array_equal(scored.request_id, np.repeat(raw["request_id"], shown.sum(axis=1)))
    np.testing.assert_array_equal(scored.extra[TRUTH], raw[TRUTH][shown])
    assert len(scored.probability) == shown.sum()


def test_the_logging_policy_as_a_model_closes_no_gap_and_the_oracle_closes_all(
    log: Path, scored: Scored, oracle: Path
) -> None:
    raw = _raw(log)
    real = raw[CANDIDATE] == 1
    logging = metrics_of(scored, resamples=0)
    assert logging["auc_entire"] == pytest.approx(logging["logging_auc_entire"], abs=1e-6)
    assert logging["gap_closed"] == pytest.approx(0, abs=1e-5)
    assert logging["auc"] == pytest.approx(logging["logging_policy_auc"], abs=1e-6)
    assert logging["auc_entire"] == pytest.approx(soft_auc(raw[TRUTH][real], raw[LOGGED_SCORE][real]), abs=1e-6)
    best = metrics_of(score(oracle, log, "all"), resamples=0)
    assert best["gap_closed"] == pytest.approx(1, abs=1e-5) == best["gap_closed_unexposed"]
    assert best["auc"] == pytest.approx(best["oracle_auc"], abs=1e-6)


def test_cut_offs_and_definition_reach_the_metrics(scored: Scored) -> None:
    standard = metrics_of(scored, 0, cut_offs=(3,))
    recflow = metrics_of(scored, 0, cut_offs=(3,), definition="recflow")
    assert {key for key in standard if "@" in key} == {"recall@3", "ndcg@3"}
    assert standard["ndcg@3"] > recflow["ndcg@3"] > 0


def test_a_truth_that_is_missing_somewhere_is_refused(scored: Scored) -> None:
    requests = scored.requests
    assert requests is not None
    real, padding = np.argwhere(requests.candidate)[5], np.argwhere(~requests.candidate)[0]
    requests.extra[TRUTH][tuple(padding)] = np.nan
    assert "auc_entire" in metrics_of(scored, 0)
    kept = requests.extra[TRUTH][tuple(real)]
    requests.extra[TRUTH][tuple(real)] = np.nan
    with pytest.raises(InputError, match="column 'true_click_probability': received 1 missing values"):
        metrics_of(scored, 0)
    requests.extra[TRUTH][tuple(real)], requests.extra[TRUTH][tuple(padding)] = kept, 0.0


def test_what_is_resampled_is_users_or_what_is_asked_for(scored: Scored) -> None:
    requests = scored.requests
    assert requests is not None
    users = len(np.unique(requests.user_id))
    found = metrics_of(scored, 9)
    assert found["resampled_users"] == users < _REQUESTS and found == metrics_of(scored, 9, resample="user")
    assert metrics_of(scored, 9, resample="request")["resampled_requests"] == _REQUESTS
    with pytest.raises(InputError, match="--resample: received row, and the records are whole requests; expected user"):
        metrics_of(scored, 9, resample="row")
    nobody = replace(scored, user_id=np.full(len(scored.label), b""))
    with pytest.raises(InputError, match=r"received user, and no record has such an id; expected request\."):
        metrics_of(nobody, 9, resample="user")


def test_scores_that_are_no_probabilities_are_refused_with_their_place(scored: Scored) -> None:
    requests = scored.requests
    assert requests is not None
    probability = requests.probability.copy()
    probability[~requests.candidate] = np.nan
    clean = replace(scored, requests=replace(requests, probability=probability))
    assert metrics_of(clean, 0) == metrics_of(scored, 0)
    probability[tuple(np.argwhere(requests.candidate)[5])] = np.nan
    with pytest.raises(InputError, match="1 of .* scores are no probabilities, the first, nan, of candidate 5 of"):
        metrics_of(clean, 0)


def test_rows_have_the_metrics_of_rows(log: Path, tmp_path: Path) -> None:
    rows = score(_model_that_reads(LOGGED_SCORE, log, tmp_path, "row"), log, "all")
    assert rows.requests is None
    found = metrics_of(rows, resamples=0)
    assert found["auc"] == pytest.approx(found["logging_policy_auc"], abs=1e-6)
    assert found["oracle_auc"] > found["logging_policy_auc"]
    assert not {key for key in found if "@" in key or "entire" in key}
    flat = Scored(0 * rows.label, rows.probability, rows.request_id, rows.user_id, rows.extra)
    assert set(metrics_of(flat, resamples=0)) == {"logloss", "ece"}


def test_the_command_tells_definition_and_intervals(log: Path, logging_policy: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ("--split", "all", "--resamples", 20, "--ranking-k", "5,10", "--ranking-definition", "recflow")
    answer = consort("evaluate", logging_policy, "--data", log, *options, "--json", report)
    assert answer.code == 0, answer.err
    result = json.loads(report.read_text())
    assert result["requests"] == _REQUESTS and result["candidates"] > result["examples"]
    assert result["ranking"]["definition"] == "recflow" and "without an ideal divisor" in result["ranking"]["meaning"]
    metrics = result["metrics"]
    assert {key.partition("@")[2] for key in metrics if "@" in key and "_" not in key} == {"5", "10"}
    for key in ("recall@5", "auc_entire", "gap_closed", "calibration_unexposed"):
        assert metrics[f"{key}_low"] <= metrics[key] <= metrics[f"{key}_high"]
    (line,) = [line for line in answer.out.splitlines() if line.startswith("metrics.auc_entire ")]
    figures = [f"{metrics['auc_entire' + end]:.6g}" for end in ("", "_low", "_high")]
    assert line.split() == ["metrics.auc_entire", figures[0], f"[{figures[1]},", f"{figures[2]}]"]
    assert "_low" not in answer.out


@pytest.mark.parametrize("value", ["", "0", "10,", "ten", "5;6", "-1"])
def test_a_k_that_is_none_is_refused_before_the_work(value: str, log: Path) -> None:
    answer = consort("evaluate", log, "--data", log, f"--ranking-k={value}")
    assert answer.code == 2
    assert "positive integers separated by commas" in answer.err


def test_a_dataset_without_the_records_that_the_model_reads_is_blamed_and_not_the_split(log: Path) -> None:
    dataset = load_dataset(log)
    rows_only = dataset.model_copy(update={"records": {"row": dataset.records["row"]}})
    with pytest.raises(InputError, match="--data: received a dataset with row records; expected request records"):
        splits_of(rows_only, "request", "test")
    assert splits_of(rows_only, "row", "test") == ["test"]
