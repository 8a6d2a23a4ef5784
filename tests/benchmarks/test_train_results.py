"""Figures of `bench train` from rounds that are known by heart."""

import pytest

from benchmarks.peers.task import Task
from benchmarks.train_results import Timing, ratios, raw_results


def timing(*seconds: float, steps: int = 10, batch_size: int = 100) -> Timing:
    return Timing(Task(batch_size=batch_size), steps, seconds, tuple(2 * s for s in seconds), 0.6, 1.5, {"v": 1})


# Medians of a step: 20 ms, 10 ms, 60 ms, 50 ms.
SAME = {
    "consort": timing(0.1, 0.2, 0.9),
    "consort_bfloat16": timing(0.1, 0.1, 0.1),
    "deepctr": timing(0.6, 0.6, 0.1),
    "fuxictr": timing(0.5, 0.4, 0.6),
}


def test_speed_counts_rows_by_the_median_round():
    assert SAME["consort"].step_ms == pytest.approx(20) and SAME["consort"].examples_per_s == pytest.approx(5000)
    assert SAME["consort"].step_seconds == pytest.approx([0.01, 0.02, 0.09])


def test_the_ratio_is_that_to_the_faster_of_the_peers():
    found = ratios({"deepfm_1m": SAME})
    assert found["fastest_peer"] == "fuxictr"
    assert found["ratio_to_fastest_peer"] == pytest.approx(50 / 20)
    assert found["ratio_to_fastest_peer_bfloat16"] == pytest.approx(50 / 10)
    assert found["ratio_rounds"]["deepfm_1m_to_fastest_peer"] == pytest.approx([5, 2, 0.6 / 0.9])


def test_the_headline_is_the_one_of_a_million_ids():
    slow = {**SAME, "consort": timing(1.0, 1.0, 1.0)}
    found = ratios({"deepfm_100k": slow, "deepfm_1m": SAME, "deepfm_4m": slow})
    assert found["ratio_to_fastest_peer"] == pytest.approx(2.5)
    assert found["ratio_to_fastest_peer_by_size"]["deepfm_4m"]["ratio_to_fastest_peer"] == pytest.approx(0.5)
    assert ratios({"deepfm_4m": slow})["ratio_to_fastest_peer"] is None


def test_growth_is_the_step_at_4_m_ids_over_that_at_100_k():
    found = ratios({"growth": {"100k": timing(1.0, 2.0, 3.0), "1m": timing(1, 1, 1), "4m": timing(2.2, 2.0, 3.0)}})
    assert found["step_ratio_4m_to_100k"] == pytest.approx(1.1)
    assert found["ratio_rounds"]["step_ratio_4m_to_100k"] == pytest.approx([2.2, 1.0, 1.0])
    assert found["ratio_to_fastest_peer"] is None and found["step_ratio_4_peers"] is None


def test_contenders_that_take_another_number_of_steps_compare_by_the_step():
    found = ratios({"models": {"deepfm": timing(1.0, steps=10), "deepfm_4_peers": timing(1.0, steps=4)}})
    assert found["step_ratio_4_peers"] == pytest.approx(2.5)


def test_without_peers_there_is_no_ratio_to_them():
    alone = {name: SAME[name] for name in ("consort", "consort_bfloat16")}
    found = ratios({"deepfm_1m": alone})
    assert found["ratio_to_fastest_peer"] is None and found["ratio_to_fastest_peer_by_size"] == {}


def test_all_rounds_are_kept():
    raw = raw_results({"deepfm_1m": SAME})
    assert raw["rounds_step_ms"]["deepfm_1m"]["consort"] == pytest.approx([10, 20, 90])
    assert raw["cores_used"]["deepfm_1m"]["deepctr"] == pytest.approx(2)
    assert raw["about"]["deepfm_1m"]["fuxictr"] == {"v": 1} and raw["peak_gb"]["deepfm_1m"]["fuxictr"] == 1.5
