"""`consort bench serve`, tiny, and how it makes its requests."""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serve import _round
from benchmarks.served_models import with_history
from tests.helpers.command_line import consort
from transforms.features import Column, Feature, FeatureSet

LISTS = Column(name="read", dtype="string", entity="user", variable_length=True)
FEATURES = FeatureSet(columns=(LISTS,), features=(Feature(name="read", encoding="id"),), list_size=2)


@pytest.mark.parametrize(
    ("read", "wanted"),
    [([b"a", b"b", b"c", b""], [b"a", b"b"]), ([b"a", b"", b"", b""], [b"a", b"a"]), ([b""], [b"x", b"y"])],
)
def test_every_history_has_the_length_asked_for(read: list[bytes], wanted: list[bytes]) -> None:
    inputs = {"read": np.array([read], object), "item_id": np.array([[b"x", b"y"]], object)}
    made = with_history(inputs, FEATURES, 2)
    assert made["read"].tolist() == [wanted]
    assert made["item_id"] is inputs["item_id"]


def test_calls_of_each_kind_are_made_in_turns_and_timed_in_milliseconds() -> None:
    made = list[str]()

    def served(_: int) -> None:
        made.append("served")

    def slow(_: int) -> None:
        made.append("slow")
        time.sleep(0.002)

    calls: dict[str, Callable[[int], object]] = {"": served, "slow": slow}
    result = _round(calls, 150)
    assert [key for key, _ in itertools.groupby(made)] == ["served", "slow"] * 2
    assert made.count("slow") == 150 + 50 + 5
    assert result["min_ms"] <= result["p50_ms"] <= result["p90_ms"] <= result["p99_ms"]
    assert 2.0 <= result["slow_min_ms"] <= result["slow_p50_ms"] and result["p50_ms"] < 1.0


@pytest.mark.e2e
def test_the_command_measures_a_server_in_a_process_of_its_own(tmp_path: Path) -> None:
    told = tmp_path / "serve.json"
    answer = consort(
        "bench", "serve", "--candidates", 5, "--history", 3, "--requests", 4, "--rounds", 2, "--json", told
    )
    assert answer.code == 0, answer.err
    result = json.loads(told.read_text())
    assert 0 < result["min_ms"] <= result["p50_ms"] <= result["p90_ms"] <= result["p99_ms"]
    assert len(result["rounds"]) == 2 and result["candidates"] == 5 and result["history"] == 3
    assert {"machine", "model", "signature"} <= set(result)
    for name in ("in_process", "one_row", "one_row_in_process", "empty_call"):
        assert 0 < result[f"{name}_min_ms"] <= result[f"{name}_p50_ms"] <= result[f"{name}_p99_ms"]
    parts = result["one_row_in_process_p50_ms"] + result["empty_call_p50_ms"]
    assert result["one_row_p50_ms_above_parts"] == pytest.approx(result["one_row_p50_ms"] - parts)
