"""`consort bench retrieve`, tiny."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.retrieve import BATCHES, synthetic
from tests.helpers.command_line import consort


def test_vectors_are_of_length_1_and_nearly_of_rank_16() -> None:
    vectors, users = synthetic(500, 64, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    values = np.linalg.svd(vectors, compute_uv=False)
    assert values[15] > 2 * values[16] and users.shape == (256, 64)


def test_the_command_measures_exact_and_approximate_retrieval(tmp_path: Path) -> None:
    told = tmp_path / "retrieve.json"
    answer = consort("bench", "retrieve", "--items", 300, "--width", 8, "--calls", 3, "--json", told)
    assert answer.code == 0, answer.err
    result = json.loads(told.read_text())
    assert 0 < result["p50_ms"] <= result["p99_ms"] and result["hnsw_p50_ms"] > 0
    assert result["ratio_exact_to_hnsw"] == pytest.approx(result["p50_ms"] / result["hnsw_p50_ms"])
    assert result["hnsw_recall"] >= 0.98 and set(result["batch_ms_per_query"]) == {str(one) for one in BATCHES}
    assert {"machine", "seed", "threads", "k"} <= set(result)
