"""`consort bench versions`: its load on a small model, and what it takes for wrong."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.versions import _cut, _Load, _publish
from serving.server.server import LocalServer


def test_a_request_is_cut_to_its_first_candidates() -> None:
    inputs = {"candidate": np.ones([1, 10]), "item_id": np.arange(10)[None], "history": np.ones([1, 4])}
    inputs["candidate_count"] = np.array([10])
    cut = _cut(inputs, 0.3)
    assert cut["item_id"].tolist() == [[0, 1, 2]]
    assert cut["candidate"].shape == (1, 3) and cut["history"].shape == (1, 4)
    assert cut["candidate_count"].tolist() == [3]


def test_versions_take_turns_and_old_ones_go(tmp_path: Path) -> None:
    variants = [tmp_path / "even", tmp_path / "odd"]
    for variant in variants:
        variant.mkdir()
        (variant / "name").write_text(variant.name)
    for number in (1, 2, 3):
        _publish(variants, tmp_path / "base", number)
    kept = {path.name: (path / "name").read_text() for path in (tmp_path / "base").iterdir()}
    assert kept == {"2": "even", "3": "odd"}


@pytest.mark.parametrize(
    ("version", "logits", "wrong"),
    [(4, [[1.0]], 0), (5, [[2.0]], 0), (5, [[1.0]], 1), (4, [[1.001]], 1), (4, [[1.0, 1.0]], 1)],
)
def test_an_answer_is_compared_with_the_version_that_it_names(version: int, logits: list, wrong: int) -> None:
    load = _Load("127.0.0.1:1", [{}], [[np.array([[1.0]])], [np.array([[2.0]])]])
    answer = SimpleNamespace(version=version, outputs={"logit": np.array(logits)})
    load._client.close()
    load._client = SimpleNamespace(predict=lambda *_: answer)  # type: ignore[assignment]
    load._predict(random.Random(1))
    summary = load.summary()
    assert (summary["answers"], summary["wrong"], summary["versions_answered"]) == (1, wrong, 1)


def test_no_request_fails_while_versions_change(tmp_path: Path) -> None:
    variants = [_times(factor, tmp_path / f"made{factor:g}") for factor in (2.0, 3.0)]
    requests = [{"x": np.array([1.0, value], np.float32)} for value in range(5)]
    expected = [[factor * inputs["x"] for inputs in requests] for factor in (2.0, 3.0)]
    base = tmp_path / "base"
    _publish(variants, base, 1)
    with LocalServer({"bench": base}, poll_s=0.05) as server:
        server.wait_ready(30.0)
        load = _Load(server.address, requests, expected)
        flips = load.run(2, 0.05, 0.8, lambda number: _publish(variants, base, number), 1, lambda _: None)
    summary = load.summary()
    assert (summary["failed"], summary["wrong"], flips) == (0, 0, 3), summary
    assert summary["versions_answered"] >= 2 and summary["requests"] > summary["answers"] > 20


def _times(factor: float, directory: Path) -> Path:
    module = tf.Module()
    module.factor = tf.Variable(factor)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")], autograph=False)
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logit": module.factor * x}

    module.call = call
    tf.saved_model.save(module, str(directory), signatures={"serving_default": call})
    return directory
