from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import table_start
from models.layers.interleaved_embeddings import EmbeddingPart, InterleavedEmbeddings
from models.layers.replicas import batch_mean, num_replicas
from models.training.checkpoints import Checkpoints, RunState
from models.training.distribution import is_chief, slice_of, strategy_of, table_partitioner, unshard, worker_shard
from tests.helpers.distributed_fit import deepfm, fit_case, rows
from transforms.features import ModelInput


@settings(max_examples=30)
@given(size=st.integers(0, 12), count=st.integers(1, 5))
def test_the_parts_of_a_batch_are_the_batch(size: int, count: int) -> None:
    history = tf.ragged.range(tf.range(size) % 4)
    batch = ({"item": tf.range(size), "history": history}, tf.reshape(tf.range(2 * size), [size, 2]))
    parts = [slice_of(batch, position, count) for position in range(count)]
    lengths = [len(label) for _, label in parts]
    assert sum(lengths) == size and max(lengths) - min(lengths) <= 1
    assert np.concatenate([features["item"] for features, _ in parts]).tolist() == list(range(size))
    assert [row for features, _ in parts for row in features["history"].to_list()] == history.to_list()
    assert np.concatenate([label for _, label in parts]).tolist() == batch[1].numpy().tolist()


def test_a_process_alone_takes_whole_batches_and_is_the_chief() -> None:
    strategy = strategy_of("none")
    dataset = rows(0)
    assert worker_shard(dataset, strategy) is dataset
    assert is_chief(strategy) and num_replicas() == 1


@pytest.mark.parametrize("name", ["multi_worker", "parameter_server"])
def test_a_strategy_of_several_processes_asks_for_its_cluster(name: Any) -> None:
    with pytest.raises(ValueError, match=f"'{name}' has no cluster"):
        strategy_of(name)


def test_only_tables_are_cut() -> None:
    cut = table_partitioner(3, min_rows=100)
    assert cut(tf.TensorShape([100, 17]), tf.float32) == [3, 1]
    assert cut(tf.TensorShape([99, 400]), tf.float32) == [1, 1]
    assert cut(tf.TensorShape([1000]), tf.float32) == [1]
    assert table_partitioner(3)(tf.TensorShape([23_712, 400]), tf.float32) == [1, 1]  # FiBiNET's first kernel


def test_shards_of_a_table_start_as_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_start, "_BLOCK_ROWS", 16)
    inputs = [ModelInput(name=name, vocabulary=name, shape="scalar", entity="user") for name in "ab"]
    layer = InterleavedEmbeddings(inputs, {"a": 70, "b": 13}, [EmbeddingPart(4, seed=3), EmbeddingPart(2, seed=5)])
    layer.build(None)
    table = layer.table.numpy()
    assert len(np.unique(table[:, 0])) == 70 + 13 - 1  # row 0 of each vocabulary is zeros, all others are drawn
    assert not table[0].any() and not table[70].any()
    for cuts in ([0, 42, 83], [0, 1, 17, 70, 71, 83], [0, 16, 32, 48, 83]):
        shards = [_shard(layer, begin, end) for begin, end in zip(cuts, cuts[1:], strict=False)]
        np.testing.assert_array_equal(np.concatenate(shards), table)


def _shard(layer: InterleavedEmbeddings, begin: int, end: int) -> np.ndarray:
    start = table_start.TableStart(layer.parts, layer.table_sizes)
    shape = [layer.num_rows, layer.row_width]
    return start(shape, partition_offset=(begin, 0), partition_shape=(end - begin, shape[1])).numpy()


def test_a_mean_over_the_batch_without_replicas() -> None:
    values, weight = tf.constant([1.0, 2.0, 6.0]), tf.constant([1.0, 0.0, 3.0])
    assert float(batch_mean(values)) == 3.0
    assert float(batch_mean(values, weight)) == 19 / 4
    assert float(batch_mean(values, tf.zeros([3]))) == 0.0


def test_a_checkpoint_of_shards_is_that_of_the_whole_table(tmp_path: Path) -> None:
    shards = [tf.Variable(tf.fill([2, 3], 1.0)), tf.Variable(tf.fill([1, 3], 2.0))]
    table = tf.__internal__.distribute.ShardedVariable(shards)
    other = tf.Variable([7.0])
    assert [id(one) for one in unshard([*table.variables, other])] == [id(table), id(other)]
    tf.train.Checkpoint(weights=unshard([*table.variables, other])).write(str(tmp_path / "c"))
    plain = [tf.Variable(tf.zeros([3, 3])), tf.Variable([0.0])]
    tf.train.Checkpoint(weights=plain).read(str(tmp_path / "c")).assert_consumed()
    assert plain[0].numpy().tolist() == [[1.0] * 3, [1.0] * 3, [2.0] * 3] and plain[1].numpy().tolist() == [7.0]


def test_a_fit_under_a_strategy_of_one_replica_is_that_without(tmp_path: Path) -> None:
    without = fit_case("deepfm", tmp_path / "a")
    within = fit_case("deepfm", tmp_path / "b", tf.distribute.MirroredStrategy(["CPU:0"]))
    for one, other in zip(within["history"], without["history"], strict=True):
        assert one["eval_logloss"] == pytest.approx(other["eval_logloss"], rel=1e-5)


def test_the_state_of_a_run_travels_in_its_checkpoint(tmp_path: Path) -> None:
    model = deepfm()
    model(next(iter(rows(0)))[0])
    model.compile("sgd")
    model.optimizer.build(model.trainable_variables)
    Checkpoints(tmp_path, model, model.optimizer, 2).save(RunState(epoch=1, step=5, history=[{"loss": 0.5}]))
    state = Checkpoints(tmp_path, model, model.optimizer, 2).restore()
    assert state == RunState(epoch=1, step=5, history=[{"loss": 0.5}])
