"""`consort bench serve`, tiny, and how it makes its requests."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serve import _percentiles, _with_history
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
    made = _with_history(inputs, FEATURES, 2)
    assert made["read"].tolist() == [wanted]
    assert made["item_id"] is inputs["item_id"]


def test_percentiles_are_milliseconds() -> None:
    found = _percentiles(np.arange(101) / 1000)
    assert found == {name: pytest.approx(float(name[1:3])) if name != "min_ms" else 0.0 for name in found}
    assert {"p50_ms", "p99_ms"} <= set(found)


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
