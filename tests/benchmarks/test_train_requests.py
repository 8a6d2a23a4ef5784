"""`consort bench train --part duet`: the requests, the two contenders, and a quick run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import train as bench
from benchmarks.peers.task import Task
from benchmarks.train_requests import CANDIDATES, HISTORY, make_dataset, make_model, table_sizes
from models.cotraining.duet import Duet
from models.preranking.set_ranker import SetRanker
from tests.helpers.command_line import consort

SMALL = Task(model="set_ranker", ids=20, batch_size=3, batches=2, hidden_units=(4, 3), width=2)


def test_requests_hold_the_simulators_fields() -> None:
    features, label, weight = next(iter(make_dataset(SMALL)))
    assert features["item_id"].shape == (3, CANDIDATES) and features["history_item_id"].shape == (3, None)
    assert (features["history_item_id"].row_lengths().numpy() == HISTORY).all()
    assert features["item_price"].dtype == np.float32 and features["user_id"].shape == (3,)
    sizes = table_sizes(SMALL)
    assert sizes["user_id"] == sizes["item_id"] == 11 and sizes["device"] == 25
    assert features["item_id"].numpy().min() >= 1 and features["item_id"].numpy().max() <= 10
    assert features["candidate"].numpy().all() and not label.numpy()[weight.numpy() == 0].any()
    assert 0.02 < weight.numpy().mean() < 0.25


def test_one_model_or_a_pair() -> None:
    assert isinstance(make_model(SMALL), SetRanker)
    pair = make_model(replace(SMALL, peers=2))
    assert isinstance(pair, Duet) and [peer.embeddings.parts[0].seed for peer in pair.peers] == [1, 2]


@pytest.mark.parametrize("fast", [True, False])
def test_both_train_on_the_same_requests(monkeypatch, fast: bool) -> None:
    timed: list[bench.Contender] = []

    def time(contenders, *_):
        timed.extend(contenders)
        return {}

    monkeypatch.setattr(bench, "_time", time)
    result = bench.bench_train(parts=("duet",), fast=fast)
    one, pair = timed
    assert [one.name, pair.name] == ["set_ranker", "duet"]
    assert pair.task == replace(one.task, peers=2) and one.task.hidden_units == (256, 128, 64)
    assert one.task.batch_size == (4 if fast else 64)
    assert result["step_ratio_duet"] is None


@pytest.mark.slow
def test_a_quick_run_gives_the_ratio(tmp_path) -> None:
    file = tmp_path / "train.json"
    answer = consort("bench", "train", "--fast", "--part", "duet", "--rounds", 2, "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    assert result["step_ratio_duet"] > 0 and len(result["ratio_rounds"]["step_ratio_duet"]) == 2
    assert "step_ratio_duet" in answer.out
