"""`consort bench versions`: its load on small models, and what it takes for wrong."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.served_models import Request, with_candidates
from benchmarks.versions import _Load, _publish, same_answer
from serving.server.server import LocalServer


def test_a_request_is_cut_to_its_first_candidates() -> None:
    inputs = {"candidate": np.ones([1, 10]), "item_id": np.arange(10)[None], "history": np.ones([1, 4])}
    inputs["candidate_count"] = np.array([10])
    cut = with_candidates(inputs, 0.3)
    assert cut["item_id"].tolist() == [[0, 1, 2]]
    assert cut["candidate"].shape == (1, 3) and cut["history"].shape == (1, 4)
    assert cut["candidate_count"].tolist() == [3]


def test_versions_of_all_models_take_turns_and_old_ones_go(tmp_path: Path) -> None:
    variants = [{name: tmp_path / f"{parity}_{name}" for name in ("ranker", "towers")} for parity in ("even", "odd")]
    for path in (path for variant in variants for path in variant.values()):
        path.mkdir()
        (path / "name").write_text(path.name)
    for number in (1, 2, 3):
        _publish(variants, tmp_path / "base", number)
    for model in ("ranker", "towers"):
        kept = {path.name: (path / "name").read_text() for path in (tmp_path / "base" / model).iterdir()}
        assert kept == {"2": f"even_{model}", "3": f"odd_{model}"}


@pytest.mark.parametrize(
    ("version", "logits", "wrong"),
    [(4, [[1.0]], 0), (5, [[2.0]], 0), (5, [[1.0]], 1), (4, [[1.001]], 1), (4, [[1.0, 1.0]], 1)],
)
def test_an_answer_is_compared_with_the_version_that_it_names(version: int, logits: list, wrong: int) -> None:
    request = Request("ranker", "serving_default", {})
    expected = [[[{"logit": np.array([[1.0]])}]], [[{"logit": np.array([[2.0]])}]]]
    load = _Load("127.0.0.1:1", [[request]], expected, 0)
    answer = SimpleNamespace(version=version, outputs={"logit": np.array(logits)})
    load._predict(SimpleNamespace(predict=lambda *_: answer), random.Random(1))  # type: ignore[arg-type]
    summary = load.summary()
    assert (summary["answers"], summary["wrong"], summary["versions_answered"]) == (1, wrong, 1)


@pytest.mark.parametrize(
    ("ids", "same"),
    [("abcd", True), ("acbd", True), ("bacd", False), ("abdc", True), ("abcx", True), ("xbcd", False)],
)
def test_only_items_of_equal_scores_and_the_last_one_may_be_others(ids: str, same: bool) -> None:
    scores = np.array([[3.0, 2.0, 2.0 - 1e-6, 2.0 - 2e-6]], np.float32)
    expected = {"item_id": np.array([list("abcd")], object), "score": scores}
    assert same_answer({"item_id": np.array([list(ids)], object), "score": scores}, expected) is same
    assert not same_answer({"score": scores}, expected)
    assert not same_answer({**expected, "score": scores + 0.01}, expected)


def test_no_request_fails_while_versions_change(tmp_path: Path) -> None:
    variants = [{"bench": _times(factor, tmp_path / f"made{factor:g}")} for factor in (2.0, 3.0)]
    inputs = [{"x": np.array([1.0, value], np.float32)} for value in range(5)]
    expected = [[[{"logit": factor * one["x"]} for one in inputs]] for factor in (2.0, 3.0)]
    requests = [[Request("bench", "serving_default", one) for one in inputs]]
    base = tmp_path / "base"
    _publish(variants, base, 1)
    with LocalServer({"bench": base / "bench"}, poll_s=0.05) as server:
        server.wait_ready(30.0)
        load = _Load(server.address, requests, expected, 2)
        flips = load.run(0.05, 0.8, lambda number: _publish(variants, base, number), 1, lambda _: None)
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
