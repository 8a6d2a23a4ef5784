"""Rank AUC, against pairs counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.simulation.auc import auc


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 3 / 4),  # of 4 pairs only (0.35, 0.4) is wrong
        ([0.5, 0.5, 0.5], [1, 0, 0], 1 / 2),  # ties count one half
        ([0.5, 0.5, 0.2, 0.9], [1, 0, 0, 0], (0.5 + 1 + 0) / 3),
        ([3, 2, 1], [1, 0, 0], 1.0),
        ([1, 2, 3], [1, 0, 0], 0.0),
    ],
)
def test_auc_is_the_share_of_pairs_in_order(scores: list[float], labels: list[int], expected: float) -> None:
    assert auc(np.array(scores), np.array(labels)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_auc_of_equal_labels_is_undefined(labels: list[int]) -> None:
    assert auc(np.arange(len(labels)), np.array(labels)) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_equals_counting_all_pairs(examples: list[tuple[int, bool]]) -> None:
    positives = [score for score, label in examples if label]
    negatives = [score for score, label in examples if not label]
    if positives and negatives:
        wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
        expected = wins / (len(positives) * len(negatives))
        scores, labels = np.array([s for s, _ in examples]), np.array([int(y) for _, y in examples])
        assert auc(scores, labels) == pytest.approx(expected, abs=1e-12)
