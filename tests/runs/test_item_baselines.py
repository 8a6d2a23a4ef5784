"""Baselines of retrieval by hand: popularity, cosine, EASE's closed form, histories at the time of the click, ties."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from evaluation.catalogue import CatalogueRecall
from evaluation.units import MISSING
from runs.baselines.items import (
    FactorizedClicks,
    co_clicks,
    cosine_neighbors,
    ease,
    histories_of,
    interactions,
    popularity,
    ranks,
    recent_popularity,
)
from runs.baselines.retrieval import EvaluatedSplits, ItemBaselines, beside_baselines, history_column
from serving.retrieval.recall import Retrieved, SeenItems
from tests.helpers.toy_data import toy_features, toy_rows
from transforms.batches import Batch
from transforms.features import Split
from transforms.records import load_dataset
from transforms.writing import write_dataset

_CLICKED = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0]], np.float32)


def test_popular_items_are_counted_and_recent_ones_by_the_window() -> None:
    items, times = np.array([0, 0, 0, 2, 2, 1, -1]), np.array([10, 20, 30, 95, 99, 98, 100])
    np.testing.assert_array_equal(popularity(items, 4), [3, 1, 2, 0])
    # In the last ten seconds item 2 was clicked twice, 1 once; of the others 0 has more clicks in all.
    assert np.argsort(-recent_popularity(items, times, 10, 4)).tolist() == [2, 1, 0, 3]


def test_cosine_is_that_of_the_items_users() -> None:
    similarity = cosine_neighbors(co_clicks(sparse.csr_matrix(_CLICKED)))
    # Items 0 and 1 have the users {0, 1, 3} and {0, 1, 2}, item 2 {1, 2}; nobody clicked item 3.
    assert similarity[0, 1] == pytest.approx(2 / 3) and similarity[1, 2] == pytest.approx(2 / np.sqrt(6))
    assert similarity[0, 2] == pytest.approx(1 / np.sqrt(6))
    assert not np.diagonal(similarity).any() and not similarity[3].any()


def test_ease_is_its_closed_form_and_the_best_of_its_regression() -> None:
    random = np.random.default_rng(0)
    clicked = (random.random((200, 12)) < 0.3).astype(np.float64)
    weights = ease(co_clicks(sparse.csr_matrix(clicked, dtype=np.float32)), 7.0)
    inverse = np.linalg.inv(clicked.T @ clicked + 7.0 * np.eye(12))
    expected = np.eye(12) - inverse / np.diagonal(inverse)
    np.testing.assert_allclose(weights, expected, atol=1e-4)
    # Column j is the ridge regression of item j on all others.
    others = np.delete(np.arange(12), 5)
    x = clicked[:, others]
    ridge = np.linalg.solve(x.T @ x + 7.0 * np.eye(11), x.T @ clicked[:, 5])
    np.testing.assert_allclose(weights[others, 5], ridge, atol=1e-4)


def test_als_minimizes_its_weighted_squares_and_folds_users_in() -> None:
    pytest.importorskip("implicit")
    random = np.random.default_rng(2)
    clicked = (random.random((120, 40)) < 0.2).astype(np.float32)
    model = FactorizedClicks(sparse.csr_matrix(clicked))
    histories = (random.random((9, 40)) < 0.2).astype(np.float32)
    items = np.asarray(model._model.item_factors, np.float64)
    # All pairs have confidence 1: a user's vector x solves (Y'Y + 0.05 I) x = sum of y over the clicks.
    left = items.T @ items + 0.05 * np.eye(items.shape[1])
    expected = np.linalg.solve(left, items.T @ histories.T).T @ items.T
    np.testing.assert_allclose(model(sparse.csr_matrix(histories)), expected, atol=1e-3)
    users = np.asarray(model._model.user_factors, np.float64)
    # The items' factors are the other half of the same minimum, after the last of 15 rounds.
    again = np.linalg.solve(users.T @ users + 0.05 * np.eye(users.shape[1]), users.T @ clicked).T
    np.testing.assert_allclose(again, items, atol=1e-2)


def test_ranks_are_those_of_the_recall_in_a_catalogue() -> None:
    random = np.random.default_rng(1)
    scores = np.round(random.random((50, 30)), 1)
    clicked = random.integers(-1, 30, 50)
    excluded = random.integers(-1, 30, (50, 4))
    excluded = np.array([np.pad(np.unique(row), (4 - len(np.unique(row)), 0), constant_values=-1) for row in excluded])

    def search(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        places = np.argsort(-scores[rows], axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores[rows], places, axis=1), places

    for hidden in (None, excluded):
        recall = CatalogueRecall(search, 30, (1, 5, 10, 20))
        recall.update(np.arange(50), clicked, hidden)
        result = ranks(scores, clicked, hidden)
        for key, hits in recall.hits().items():
            np.testing.assert_array_equal(result <= int(key.partition("@")[2]), hits)
        # Scores that are the same for every click need not be repeated, also with ties.
        repeated = np.broadcast_to(scores[0], scores.shape)
        np.testing.assert_array_equal(ranks(scores[0], clicked, hidden), ranks(repeated, clicked, hidden))


def test_a_user_counts_once_for_an_item_and_unknown_ones_not_at_all() -> None:
    users, items = np.array([0, 0, 1, MISSING, 1]), np.array([2, 2, 0, 1, -1])
    np.testing.assert_array_equal(interactions(users, items, 3).toarray(), [[0, 0, 1], [1, 0, 0]])
    lists = [np.array([2, 0, 2, -1]), np.empty(0, np.int64)]
    np.testing.assert_array_equal(histories_of(lists, 3).toarray(), [[1, 0, 1], [0, 0, 0]])


def _rows(split: Split, clicks: list[tuple[bytes, bytes, list[bytes]]], start: int) -> Batch:
    """Rows that are all clicks, of users, items and histories."""
    batch = toy_rows(split, [item for _, item, _ in clicks], [1.0] * len(clicks), [past for _, _, past in clicks])
    columns = {
        **batch.columns,
        "user_id": np.array([user for user, _, _ in clicks], object),
        "label": np.ones(len(clicks), np.float32),
        "timestamp": start + np.arange(len(clicks)),
    }
    return Batch("row", split, columns)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "data"
    train = [(b"u0", b"a", []), (b"u0", b"b", [b"a"]), (b"u1", b"a", []), (b"u1", b"b", [b"a"]), (b"u2", b"c", [])]
    train += [(b"u2", b"d", [b"c"]), (b"u3", b"a", [])]
    test = [(b"u9", b"b", [b"x", b"a"]), (b"u9", b"d", [b"x", b"a", b"c"]), (b"u8", b"a", []), (b"u0", b"new", [b"a"])]
    test += [(b"u0", b"d", [b"a"])]
    batches = (_rows("train", train, 1000), _rows("eval", [(b"u7", b"d", [b"c"])], 2000), _rows("test", test, 3000))
    write_dataset(batches, folder, "toy", toy_features(), {"seed": 0})
    return folder


def test_a_history_is_that_of_the_click_and_nobodys_history_gets_the_popular(log: Path) -> None:
    dataset = load_dataset(log)
    where = EvaluatedSplits(log, dataset, toy_features(), "row", ("test",))
    clicks = where.log()
    assert clicks is not None and clicks.history == history_column(toy_features()) == "history"
    ids = np.array([b"a", b"b", b"c", b"d"], object)
    baselines = ItemBaselines(clicks, ids)
    found = baselines.ranks()
    # Clicks of train: a 3, b 2, c and d 1 each, which count against each other; `new` is never found.
    np.testing.assert_array_equal(found["most_popular"], [2, 4, 1, 5, 4])
    # The first click's history is a, whose neighbor is b. The second's are a and c, of which the toy column keeps two:
    # d is as near to c as can be, b less near to a. The third has no history: a is the most popular.
    np.testing.assert_array_equal(found["item_knn"], [1, 1, 1, 5, 4])
    assert found["ease"][0] == 1 and found["ease"][2] == 1
    assert baselines.notes["fitted_on_clicks"] == 7


def test_a_model_without_histories_is_compared_by_what_users_clicked_in_train(log: Path) -> None:
    clicks = EvaluatedSplits(log, load_dataset(log), toy_features(), "row", ("train",)).log()
    assert clicks is not None
    baselines = ItemBaselines(dataclasses.replace(clicks, history=None), np.array([b"a", b"b", b"c", b"d"], object))
    result = baselines.ranks()["item_knn"]
    # u2 clicked c and d, each the only neighbor of the other, so both have the best score; by popularity they would
    # be last. So have a and b for u0 and u1. u3 clicked a alone, which is no neighbor of itself.
    np.testing.assert_array_equal(result[4:], [2, 2, 4])
    assert (result[:4] <= 2).all()


def test_seen_items_are_left_out_and_gains_are_those_of_the_same_clicks(log: Path) -> None:
    dataset = load_dataset(log)
    where = EvaluatedSplits(log, dataset, toy_features(), "row", ("test",))
    clicks = where.log()
    assert clicks is not None
    ids = np.array([b"a", b"b", b"c", b"d"], object)
    seen = SeenItems(clicks.train, dataset.feature_set, "row")
    # u0 has seen a and b; nobody else of the test split was there before.
    np.testing.assert_array_equal(ItemBaselines(clicks, ids, seen).ranks()["most_popular"], [2, 4, 1, 5, 2])
    hits = {"catalogue_recall@1": np.array([True, True, True, False, False])}
    users = np.array([b"u9", b"u9", b"u8", b"u0", b"u0"], object)
    model = Retrieved(hits, users, users, 4, 1)
    comparison, reported = beside_baselines(where, model, ids, None, resamples=30)
    assert comparison is not None and comparison.baselines["most_popular"]["catalogue_recall@1"] == 0.2
    assert reported["gain"]["most_popular"]["catalogue_recall@1"] == pytest.approx(0.4)
    assert reported["gain"]["item_knn"]["catalogue_recall@1"] == 0
    nothing = Retrieved({"catalogue_recall@1": np.zeros(5, bool)}, users, users, 4, 1)
    assert any("most_popular" in line for line in beside_baselines(where, nothing, ids, None, 30)[1]["warnings"])
