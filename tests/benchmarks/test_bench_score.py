"""`consort bench score`: what is timed, the figures from rounds that are known by heart, and a quick run of it all."""

import json

import numpy as np
import pytest

from benchmarks import score as bench
from benchmarks.score_process import Case, Request, _arguments, _function, measure_times
from tests.helpers.command_line import consort
from transforms.errors import ConsortError

_MEMORY = {"elu1": {"1000": 10.0, "8000": 30.0}, "exact": {"1000": 50.0, "8000": 2500.0}}


def _seconds(linear: float, exact: float) -> dict[str, list[float]]:
    """A call takes so many seconds a thousand candidates, exact attention that often a thousand again."""
    found = {}
    for case in bench.timed_cases():
        thousands = case.candidates / 1000
        taken = linear * thousands if case.feature_map == "elu1" else exact * thousands**2
        taken *= 2 if case.compiled and case.part == "ranker" else 1
        # One round was disturbed.
        found[case.name] = [taken, 100.0, taken]
    return found


def test_all_contenders_meet_at_every_size() -> None:
    cases = bench.timed_cases()
    assert len(cases) == len({case.name for case in cases}) == 4 * 4 + 4
    assert {case.candidates for case in cases} == {500, 1000, 4000, 4500}
    assert {case.candidates for case in cases if case.part == "attention"} == {4500}
    assert (Request().history, Request().width, Request().heads) == (1000, 64, 4)


def test_figures_are_ratios_of_medians_and_the_less_favourable_of_two_ways() -> None:
    seconds = _seconds(0.01, 0.04)
    seconds["ranker elu1 graph 4500"] = [0.09, 0.09, 0.09]
    seconds["ranker elu1 xla 4000"] = [0.1, 0.1, 0.1]
    found = bench.summary(seconds, _MEMORY)
    # Exact: 0.04 x 4.5^2 = 0.81 s as a graph, twice as much compiled; linear: 0.09 s both ways.
    assert found["ratio_exact_to_linear"] == pytest.approx(0.81 / 0.09)
    assert found["ratio_by_way"]["ranker"]["xla"] == pytest.approx(1.62 / 0.09)
    assert found["ratio_exact_to_linear_attention_alone"] == pytest.approx(0.81 / 0.045)
    assert found["time_ratio_4000_to_1000"] == pytest.approx(0.1 / 0.02)
    assert found["time_ratio_by_way"]["elu1"]["graph"] == pytest.approx(4)
    assert found["time_ratio_4000_to_1000_exact"] == pytest.approx(16)
    assert found["latency_ms"]["500"]["exact"] == pytest.approx({"xla": 20.0, "graph": 10.0})
    assert set(found["latency_ms"]) == {"500", "1000", "4500"}
    assert found["peak_mb_ratio_8000_to_1000"] == {"elu1": 3.0, "exact": 50.0}


@pytest.mark.parametrize("part", ["ranker", "attention"])
def test_a_case_runs_alike_compiled_and_not(part: str) -> None:
    request, found = Request(history=7, width=8, heads=2), []
    for compiled in (True, False):
        case = Case(part, "elu1", compiled, 5)
        found.append(_function(case, request)(*_arguments(case, request, 5, 7)).numpy())
    assert found[0].shape == ((1, 5) if part == "ranker" else (1, 5, 8))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_every_round_gives_every_case_its_turn() -> None:
    cases = [Case("attention", name, False, 4) for name in ("elu1", "exact")]
    found = measure_times(cases, Request(history=3, width=4, heads=2), rounds=3, round_s=0.001)
    assert {name: len(rounds) for name, rounds in found["seconds"].items()} == {case.name: 3 for case in cases}
    assert all(seconds > 0 for rounds in found["seconds"].values() for seconds in rounds)
    assert all(count >= 1 for count in found["calls_a_round"].values())


def test_a_child_that_fails_is_told_with_its_own_words() -> None:
    with pytest.raises(ConsortError, match="(?s)scoring failed:.*JSONDecodeError"):
        bench._child("no JSON", 1)


@pytest.mark.slow
def test_a_quick_run_gives_every_key(tmp_path) -> None:
    file = tmp_path / "score.json"
    answer = consort("bench", "score", "--fast", "--rounds", 2, "--seed", 3, "--threads", 1, "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    assert result["ratio_exact_to_linear"] > 0 and result["time_ratio_4000_to_1000"] > 0
    assert {len(rounds) for rounds in result["rounds_ms"].values()} == {2} and len(result["rounds_ms"]) == 20
    assert set(result["peak_mb"]["elu1"]) == {"1000", "8000"}
    assert result["settings"]["seed"] == 3 and result["settings"]["threads"] == 1
    assert result["machine"]["versions"]["tensorflow"] and result["machine"]["cores"]
    assert "ratio_exact_to_linear" in answer.out and "timing 20 contenders" in answer.err
