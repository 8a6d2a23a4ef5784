"""Scores of all records in files: those of `evaluate`, whatever the runner."""

import numpy as np
import pytest

from tests.helpers.command_line import consort, tree
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_learnable
from transforms.arrow import pq
from transforms.errors import InputError

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bulk")


@pytest.fixture(scope="module")
def model(folder):
    from runs.train import train_run

    write_learnable(folder / "data")
    train_run(small_config(training={"max_steps": 5, "epochs": 1}), folder / "data", folder / "run")
    return folder / "run" / "model"


def scores_in(folder, split):
    return [row for path in sorted((folder / split).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_rows_have_their_ids_and_the_scores_of_evaluate(folder, model):
    from runs.evaluate import score

    answer = consort("score", folder / "run", "--data", folder / "data", "--out", folder / "scores")
    assert answer.code == 0, answer.err
    for split in ("train", "eval", "test"):
        expected = score(model, folder / "data", split)
        rows = scores_in(folder / "scores", split)
        np.testing.assert_allclose([row["probability"] for row in rows], expected.probability, rtol=1e-6)
        assert [row["user_id"] for row in rows] == expected.user_id.tolist()
        assert {"item_id", "timestamp"} <= rows[0].keys()


def test_two_workers_write_what_one_writes(folder, model):
    from runs.bulk import score_dataset

    two = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    score_dataset(model, folder / "data", folder / "one", "eval")
    result = score_dataset(model, folder / "data", folder / "two", "eval", two)
    assert tree(folder / "one") == tree(folder / "two")
    assert result["files"] == len(list((folder / "one").rglob("*.parquet"))) and result["scores"] == result["records"]


def test_a_request_has_a_row_for_each_candidate(folder, request_log, set_ranker):
    from runs.bulk import score_dataset
    from runs.evaluate import score

    result = score_dataset(set_ranker, request_log.folder / "data", folder / "requests", "test")
    requests = score(set_ranker, request_log.folder / "data", "test").requests
    assert requests is not None
    rows = scores_in(folder / "requests", "test")
    assert result["scores"] == len(rows) == requests.candidate.sum()
    np.testing.assert_array_equal(
        np.array([row["probability"] for row in rows], np.float32), requests.probability[requests.candidate]
    )
    assert len({(row["request_id"], row["item_id"]) for row in rows}) == len(rows)


def test_what_does_not_fit_is_refused_before_anything_is_written(folder, model, request_log):
    from runs.bulk import score_dataset

    with pytest.raises(InputError, match="no such column"):
        score_dataset(model, request_log.folder / "data", folder / "refused")
    assert not (folder / "refused").exists()
