"""What `consort query` sends and prints, without a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client.inputs import Signature, Tensor
from serving.client.predict_client import Prediction
from tests.helpers.command_line import Answer, consort

_PER_CANDIDATE = (None, None)
_REQUESTS = Signature(
    {"user_id": Tensor("string", (None,)), "item_id": Tensor("string", _PER_CANDIDATE),
     "candidate": Tensor("int64", _PER_CANDIDATE)},
    {"probability": Tensor("float32", _PER_CANDIDATE)},
    frozenset(),
)  # fmt: skip
_SCORES = np.array([[0.5, 0.25, 0.75], [0.125, 0.0, 0.0]], np.float32)


class _Client:
    """A client of a model of requests that answers `_SCORES`."""

    def __init__(self, address: str, timeout_s: float):
        pass

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def metadata(self, model: str) -> dict[str, Signature]:
        return {"serving_default": _REQUESTS}

    def predict(self, model: str, inputs: Any, signature: str) -> Prediction:
        assert inputs["candidate"].tolist() == [[1, 1, 1], [1, 0, 0]]
        return Prediction({"probability": _SCORES, "version_of": np.array([b"a", b"b"], object)}, model, 1, signature)


@pytest.fixture
def query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Runs a query of two requests, of three candidates and of one."""
    monkeypatch.setattr("serving.client.PredictClient", _Client)
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"user_id": "a", "item_id": [3, 1, 2]}\n{"user_id": "b", "item_id": [7]}\n')
    return lambda *more: consort("query", "ranker", "--inputs", path, *more)


def test_scores_of_padding_are_not_printed_and_those_of_candidates_have_their_items(
    query: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = query("--json", tmp_path / "answer.json")
    assert answer.code == 0, answer.err
    result = json.loads((tmp_path / "answer.json").read_text())
    assert result["outputs"] == {"probability": [[0.5, 0.25, 0.75], [0.125]], "version_of": ["a", "b"]}
    assert result["item_id"] == [["3", "1", "2"], ["7"]]
    assert "[0.5, 0.25, 0.75], [0.125]" in answer.out and "['3', '1', '2'], ['7']" in answer.out


def test_a_port_is_answered_with_the_address_to_pass(query: Callable[..., Answer]) -> None:
    answer = query("--port", 8501)
    assert answer.code == 2 and "expected --address HOST:PORT. Fix: pass --address 127.0.0.1:8501" in answer.err
    assert "--port" not in query("--help").out
