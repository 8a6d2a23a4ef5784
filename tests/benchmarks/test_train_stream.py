"""`consort bench train --recipe cs3`: the rows, the contenders, the store alone, and a quick run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import train as bench
from benchmarks.peers.task import Task
from benchmarks.train_requests import table_sizes
from benchmarks.train_stream import make_dataset, make_model, reads_and_writes
from tests.helpers.command_line import consort
from transforms.features import TIMESTAMP

SMALL = Task(model="cs3", ids=20, batch_size=6, batches=2, hidden_units=(4, 3), width=2)


def test_rows_hold_the_simulators_fields_in_the_order_of_time() -> None:
    batches = list(make_dataset(SMALL).take(2))
    features, label = batches[0]
    assert features["item_id"].shape == label.shape == (6,) and features["history_item_id"].shape == (6, None)
    times = np.concatenate([batch[0][TIMESTAMP].numpy() for batch in batches])
    assert (np.diff(times) > 0).all()
    assert table_sizes(SMALL)["user_id"] == table_sizes(SMALL)["item_id"] == 11


def test_with_and_without_what_is_shared() -> None:
    full, plain = make_model(SMALL), make_model(replace(SMALL, model="cs3_plain"))
    features = next(iter(make_dataset(SMALL)))[0]
    full(features)
    plain(features)
    assert len(full.caches.stores) == 4 and not plain.caches.stores
    assert [type(peer).__name__ for peer in plain.peers] == ["DSSM", "TargetAttentionRanker"]
    assert full.towers.options.cycle_adaptive == ("user", "item") and plain.towers.options.cycle_adaptive == ()


def test_a_store_alone_reads_before_it_writes_each_batch() -> None:
    run = reads_and_writes(Task(model="store", ids=50, batch_size=8, batches=1, width=3))
    first, second = run(1), run(1)
    # All began as ones; a write moves what the same batch reads next.
    assert first == 1.0 and second != 1.0


def test_the_contenders_differ_in_what_is_compared_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: dict[str, Task] = {}

    def time(contenders, *_):
        timed.update({contender.name: contender.task for contender in contenders})
        return {}

    monkeypatch.setattr(bench, "_time", time)
    result = bench.bench_train(parts=("cs3",))
    full, plain = timed["cs3"], timed["cs3_plain"]
    assert plain == replace(full, model="cs3_plain") and full.batch_size == 4096
    # A million users and as many items.
    assert table_sizes(full)["user_id"] == table_sizes(full)["item_id"] == 1_000_001
    assert timed["4m"] == replace(timed["100k"], ids=4_000_000) and timed["4m"].width == 64
    assert result["ratio_cs3_to_plain"] is None


@pytest.mark.slow
def test_a_quick_run_gives_the_ratios(tmp_path) -> None:
    file = tmp_path / "train.json"
    answer = consort("bench", "train", "--fast", "--recipe", "cs3", "--rounds", 2, "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    assert result["ratio_cs3_to_plain"] > 0 and result["store_ratio_4m_to_100k"] > 0
