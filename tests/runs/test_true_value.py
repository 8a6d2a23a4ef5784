"""Retrieval judged by the truth: means by hand, and a simulated log whose truth is searched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.catalogue import true_value_bounds, true_values
from runs.baselines.items import best_places
from runs.baselines.retrieval import EvaluatedSplits, beside_baselines
from runs.baselines.verdict import baseline_lines, decisive_metric, failed_gains
from runs.true_value import JudgedRequests
from serving.retrieval.catalogue import catalogue_of
from serving.retrieval.recall import Catalogued, Places, SeenItems, retrieved
from simulation.cascade_log import simulate
from simulation.parameters import World
from simulation.truth import SimulatedTruth
from transforms.records import load_dataset, paths_of_splits, shard_paths

_PROBABILITY = np.array([[0.1, 0.4, 0.2, 0.3], [0.8, 0.0, 0.6, 0.2]])


def test_true_values_are_means_over_what_is_retrieved() -> None:
    retrieved = np.array([[2, 0, 1], [2, 3, -1]])
    values = true_values(_PROBABILITY, retrieved, (1, 2, 3, 4))
    expected = {1: [0.2, 0.6], 2: [0.15, 0.4], 3: [0.7 / 3, 0.4]}
    assert values.keys() == {f"true_value@{k}" for k in expected}
    for k, means in expected.items():
        np.testing.assert_allclose(values[f"true_value@{k}"], means)


def test_bounds_are_those_of_items_that_may_be_retrieved() -> None:
    hidden = _PROBABILITY.copy()
    hidden[1, 0] = -np.inf
    bounds = true_value_bounds(hidden, 2, (1, 2, 3))
    np.testing.assert_allclose(bounds["oracle_true_value@1"], [0.4, 0.6])
    np.testing.assert_allclose(bounds["oracle_true_value@2"], [0.35, 0.4])
    np.testing.assert_allclose(bounds["random_true_value@2"], [0.25, 0.8 / 3])
    assert len(bounds) == 4


def test_a_baseline_retrieves_its_best_items_that_are_not_excluded() -> None:
    scores = np.array([[1.0, 5.0, 3.0, -np.inf], [1.0, 5.0, 3.0, 4.0]])
    np.testing.assert_array_equal(best_places(scores, 2), [[1, 2], [1, 3]])
    excluded = np.array([[1, 2], [-1, 3]])
    np.testing.assert_array_equal(best_places(scores, 3, excluded), [[0, -1, -1], [1, 2, 0]])


def test_the_true_value_decides_where_it_is_known_and_bounds_are_no_baselines() -> None:
    gain = {"catalogue_recall@10": -0.1, "true_value@10": 0.1, "true_value@10_low": 0.05, "true_value@10_high": 0.2}
    report: dict[str, Any] = {"catalogue_recall@10": 0.4, "true_value@1": 0.3, "true_value@10": 0.2}
    assert decisive_metric({**report, "true_value@10_low": 0.1}) == "true_value@10"
    report |= {"random_true_value@10": 0.05, "oracle_true_value@10": 0.5, "gain": {"most_popular": gain}}
    report["baselines"] = {"most_popular": {"catalogue_recall@10": 0.5, "true_value@10": 0.1}}
    header, model, popular, random, oracle, _ = (line.split() for line in baseline_lines(report))
    assert header == ["catalogue_recall@10", "true_value@1", "true_value@10", "gain", "in", "true_value@10"]
    assert model == ["model", "0.4000", "0.3000*", "0.2000*"]
    assert popular == ["most_popular", "0.5000*", "0.1000", "+0.1000", "[+0.0500,", "+0.2000]"]
    assert random == ["random", "0.0500"] and oracle == ["oracle", "0.5000"]
    assert failed_gains(report, 0.05) == [] and failed_gains(report, 0.15)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "data"
    world = World(
        users=30, items=60, block_requests=64, pool_size=40, candidates=30, min_candidates=20, ranked_items=15
    )
    simulate(folder, world, 400, 3)
    return folder


def test_the_truth_as_a_model_reaches_the_oracle_and_is_better_than_popularity(log: Path) -> None:
    dataset = load_dataset(log)
    truth = SimulatedTruth.of(dataset.origin)
    files = paths_of_splits(log, dataset, "row", ["test"])
    earlier = paths_of_splits(log, dataset, "row", ["train", "eval"])
    ids = catalogue_of([*earlier, *files], dataset.feature_set, "row").ids
    columns = ("request_id", "history_item_id")

    def search(raw: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
        assert truth is not None
        scores = truth.probabilities(raw["request_id"].numpy(), ids)
        places = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores, places, axis=1), places

    for seen in (None, SeenItems(earlier, dataset.feature_set, "row")):
        judged = JudgedRequests.of(dataset, files, columns, "row", ids, seen)
        assert judged is not None and len(judged) == 40
        best = judged.best(search)
        if seen is not None:
            users = np.concatenate([one.user for one in judged.queries])
            lists = zip(users.tolist(), best, strict=True)
            assert not any(
                ids[place] in seen._items.get(user, ()) for user, row in lists for place in row if place >= 0
            )
        metrics = judged.compared(best, {}, resamples=0).metrics
        for k in (1, 10, 50):
            assert metrics[f"true_value@{k}"] == pytest.approx(metrics[f"oracle_true_value@{k}"], rel=1e-6)
        assert metrics["true_value@10"] > 1.5 * metrics["random_true_value@10"]
        where = EvaluatedSplits(log, dataset, dataset.feature_set, "row", ("test",))
        result = retrieved(Catalogued(Places(ids), search), files, columns, dataset.feature_set, "row", seen)
        comparison, _ = beside_baselines(where, result, ids, seen, 20, judged=judged, retrieved=best)
        assert comparison is not None and comparison.gain["most_popular"]["true_value@10_low"] > 0


def test_a_log_whose_requests_are_not_those_of_its_origin_is_not_judged(log: Path) -> None:
    dataset = load_dataset(log)
    files = shard_paths(log, dataset, "row", "test")
    ids = np.array([b"i00", b"i01"], object)
    other = dataset.model_copy(update={"origin": {**dataset.origin, "seed": 9}})
    assert JudgedRequests.of(other, files, ("device",), "row", ids) is None
