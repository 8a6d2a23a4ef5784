"""Recall over a whole catalogue: ranks in plain NumPy, ties that never help, and clicks of items that are not there."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from evaluation.catalogue import CatalogueRecall, Search
from models.retrieval.factorized_top_k import brute_force
from transforms.errors import InputError


def _recall(search: Search, items: int, users: np.ndarray, clicked: np.ndarray, batch: int = 7) -> dict[str, float]:
    recall = CatalogueRecall(search, items)
    for start in range(0, len(users), batch):
        recall.update(tf.constant(users[start : start + batch], tf.float32), clicked[start : start + batch])
    return recall.result()


def _of_numpy(scores: np.ndarray, clicked: np.ndarray) -> dict[str, float]:
    """By the rank of each clicked item: how many items have a score that is no lower, itself included."""
    own = np.take_along_axis(scores, np.maximum(clicked, 0)[:, np.newaxis], 1)
    rank = np.where(clicked >= 0, (scores >= own).sum(axis=1), scores.shape[1] + 1)
    return {f"catalogue_recall@{k}": float((rank <= k).mean()) for k in (1, 10, 50, 100) if k <= scores.shape[1]}


def test_ranks_by_hand() -> None:
    # The scores of twelve items for a user of weight w are w times 0 to 11.
    search = brute_force(np.arange(12.0)[:, np.newaxis], 2.0)
    users = np.array([[1.0], [1.0], [1.0], [1.0], [-1.0]])
    # First; last but for one; tenth; not there; first of one who likes them the other way round.
    found = _recall(search, 12, users, np.array([11, 1, 2, -1, 0]))
    assert found == {"catalogue_recall@1": pytest.approx(2 / 5), "catalogue_recall@10": pytest.approx(3 / 5)}


@pytest.mark.parametrize("clicked", [0, 3, 9, 10])
def test_whoever_stands_first_among_equals_is_last(clicked: int) -> None:
    # Ten alike and one that is worse; of eleven alike none is among the ten best.
    vectors = np.ones((11, 1))
    vectors[10] = 0.5
    found = _recall(brute_force(vectors, 1.0), 11, np.ones((1, 1)), np.array([clicked]))
    assert found == {"catalogue_recall@1": 0.0, "catalogue_recall@10": float(clicked < 10)}
    alike = _recall(brute_force(np.ones((11, 1)), 1.0), 11, np.ones((1, 1)), np.array([clicked]))
    assert set(alike.values()) == {0.0}


@pytest.mark.parametrize("scale", [1.0, 0.3, -2.0])
@pytest.mark.parametrize("items", [1, 9, 137, 2011])
def test_recall_is_that_of_numpy(items: int, scale: float) -> None:
    random = np.random.default_rng(items)
    vectors = random.normal(size=(items, 6)).astype(np.float32)
    # Every third item is the copy of another one.
    vectors[::3] = vectors[random.integers(0, items, len(vectors[::3]))]
    users = random.normal(size=(300, 6)).astype(np.float32)
    distinct, same = np.unique(vectors, axis=0, return_inverse=True)
    scores = (scale * users.astype(np.float64) @ distinct.astype(np.float64).T)[:, same.reshape(-1)]
    # Among the best, so that every k is tried, and some that are not there.
    clicked = np.argsort(-scores, axis=1)[np.arange(300), random.integers(0, min(items, 150), 300)]
    clicked[::50] = -1
    found = _recall(brute_force(vectors, scale), items, users, clicked)
    assert found == pytest.approx(_of_numpy(scores, clicked), abs=1e-6)
    assert items == 1 or 0 < found["catalogue_recall@1"] < 1


def test_users_of_a_large_catalogue_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    vectors, users = random.normal(size=(40, 3)), random.normal(size=(11, 3))
    clicked = random.integers(0, 40, 11)
    whole = _recall(brute_force(vectors, 1.0), 40, users, clicked, batch=11)
    monkeypatch.setattr("models.retrieval.factorized_top_k._AT_ONCE", 100)
    assert _recall(brute_force(vectors, 1.0), 40, users, clicked, batch=11) == whole


def test_any_exact_search_will_do() -> None:
    table = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])

    def search(rows: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        scores = tf.gather(tf.constant(table, tf.float32), tf.cast(rows[:, 0], tf.int32))
        return tf.math.top_k(scores, count)

    rows = np.array([[0.0], [0.0], [1.0], [1.0]])
    recall = CatalogueRecall(search, 3, (1, 2, 3, 4))
    recall.update(tf.constant(rows, tf.float32), np.array([0, 2, 0, 2]))
    # Ranks 1, 2, 2 (its equal before it) and 3; four of three items nobody asks for.
    expected = {"catalogue_recall@1": 0.25, "catalogue_recall@2": 0.75, "catalogue_recall@3": 1.0}
    assert recall.result() == pytest.approx(expected)


@pytest.mark.parametrize("items", [3, 40, 300])
def test_items_that_are_left_out_stand_before_nobody(items: int) -> None:
    random = np.random.default_rng(items)
    # Few scores, so that many are alike.
    scores = random.integers(0, 12, (50, items)).astype(np.float32)
    clicked = random.integers(-1, items, 50)
    left_out = np.where(random.random((50, 9)) < 0.7, random.integers(0, items, (50, 9)), -1)

    def search(rows: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.math.top_k(tf.gather(tf.constant(scores), tf.cast(rows[:, 0], tf.int32)), count)

    recall = CatalogueRecall(search, items)
    for start in range(0, 50, 20):
        part = slice(start, start + 20)
        rows = tf.constant(np.arange(50.0)[part, np.newaxis], tf.float32)
        recall.update(rows, clicked[part], left_out[part])
    fewer = scores.copy()
    for row in range(50):
        others = [place for place in left_out[row] if place not in (-1, clicked[row])]
        fewer[row, others] = -np.inf
    assert recall.result() == pytest.approx(_of_numpy(fewer, clicked), abs=1e-9)
    assert recall.result() != pytest.approx(_of_numpy(scores, clicked), abs=1e-9)
    found = recall.hits()["catalogue_recall@1"]
    assert found.shape == (50,) and found.mean() == recall.result()["catalogue_recall@1"]


def test_scores_that_are_no_numbers_are_refused() -> None:
    recall = CatalogueRecall(brute_force(np.array([[1.0], [2.0]]), 1.0), 2)
    recall.update(tf.constant([[1.0]]), np.array([1]))
    with pytest.raises(InputError, match="a score of NaN for the user of click 2;"):
        recall.update(tf.constant([[1.0], [math.nan]]), np.array([0, 1]))


def test_only_the_search_itself_imports_tensorflow_recommenders() -> None:
    code = "import sys, models.retrieval.factorized_top_k; print('tensorflow_recommenders' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False"]
