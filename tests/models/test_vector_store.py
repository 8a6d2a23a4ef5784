"""The store of vectors by id: what is read, what a write leaves, and that nothing trains it."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.layers.vector_store import VectorStore


def _store(size: int = 6, width: int = 2, decay: float = 0.8) -> VectorStore:
    store = VectorStore(size, width, decay)
    store(tf.constant([0], tf.int64))
    return store


def _ids(*ids: int) -> tf.Tensor:
    return tf.constant(ids, tf.int64)


def test_one_event_moves_an_id_by_a_fifth() -> None:
    store = _store()
    store.write(_ids(3), tf.constant([[10.0, -5.0]]), _ids(7))
    np.testing.assert_allclose(store(_ids(3, 2)).numpy(), [[2.0, -1.0], [0.0, 0.0]], rtol=1e-6)
    store.write(_ids(3), tf.constant([[0.0, 5.0]]), _ids(8))
    # .8 * [2, -1] + .2 * [0, 5]
    np.testing.assert_allclose(store(_ids(3)).numpy(), [[1.6, 0.2]], rtol=1e-6)


def test_several_events_of_an_id_count_in_the_order_of_their_times() -> None:
    store = _store(width=1, decay=0.5)
    store.write(_ids(1, 1, 1), tf.constant([[8.0], [2.0], [4.0]]), _ids(30, 10, 20))
    # In the order 2, 4, 8: 0 -> 1 -> 2.5 -> 5.25.
    np.testing.assert_allclose(store(_ids(1)).numpy(), [[5.25]])


def test_equal_times_count_in_the_order_given() -> None:
    store = _store(width=1, decay=0.0)
    store.write(_ids(1, 1), tf.constant([[8.0], [2.0]]), _ids(10, 10))
    np.testing.assert_allclose(store(_ids(1)).numpy(), [[2.0]])


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_leaves_what_its_events_one_by_one_leave(seed: int) -> None:
    random = np.random.default_rng(seed)
    events, decay = 200, float(random.uniform(0.1, 0.99))
    store = _store(12, 3, decay)
    expected = np.zeros((12, 3))
    for _ in range(3):
        ids, times = random.integers(0, 12, events), random.integers(0, 50, events)
        vectors, mask = random.normal(size=(events, 3)).astype(np.float32), random.random(events) < 0.7
        store.write(*(tf.constant(part) for part in (ids, vectors, times, mask)))
        for event in np.argsort(times, kind="stable"):
            if mask[event] and ids[event]:
                expected[ids[event]] = decay * expected[ids[event]] + (1 - decay) * vectors[event]
    np.testing.assert_allclose(store.vectors.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_masked_events_and_padding_leave_everything_as_it_was() -> None:
    store = _store()
    ones = tf.ones([3, 2])
    store.write(_ids(0, 2, 3), ones, _ids(1, 2, 3), tf.constant([True, False, True]))
    assert np.flatnonzero(store.vectors.numpy().any(axis=1)).tolist() == [3]
    assert store.counts.numpy().tolist() == [0, 0, 0, 1, 0, 0]
    before = store.vectors.numpy()
    store.write(_ids(1, 2), ones[:2], _ids(9, 9), tf.constant([False, False]))
    np.testing.assert_array_equal(store.vectors.numpy(), before)


def test_decay_1_freezes_and_decay_0_copies() -> None:
    frozen, copying = _store(decay=1.0), _store(decay=0.0)
    for store in (frozen, copying):
        store.write(_ids(1, 1), tf.constant([[1.0, 2.0], [3.0, 4.0]]), _ids(1, 2))
    np.testing.assert_array_equal(frozen(_ids(1)).numpy(), [[0.0, 0.0]])
    np.testing.assert_array_equal(copying(_ids(1)).numpy(), [[3.0, 4.0]])


def test_it_remembers_how_often_and_when_an_id_was_written() -> None:
    store = _store()
    store.write(_ids(2, 4, 2), tf.ones([3, 2]), _ids(50, 10, 40))
    store.write(_ids(4), tf.ones([1, 2]), _ids(5))  # A late event.
    assert store.counts.numpy().tolist() == [0, 0, 2, 0, 2, 0]
    assert store.last_times.numpy().tolist() == [0, 0, 50, 0, 10, 0]


def test_no_gradient_enters_or_leaves() -> None:
    store = _store()
    source = tf.Variable(tf.ones([1, 2]))
    with tf.GradientTape() as tape:
        store.write(_ids(1), source * 2, _ids(1))
        loss = tf.reduce_sum(store(_ids(1)) * 3)
    assert not store.trainable_weights
    assert tape.gradient(loss, [source, store.vectors]) == [None, None]


def test_reset_forgets_everything() -> None:
    store = _store()
    store.write(_ids(2), tf.ones([1, 2]), _ids(9))
    store.reset()
    assert not any(weight.numpy().any() for weight in store.weights)


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    store, other = _store(), _store()
    store.write(_ids(2, 5), tf.constant([[1.0, 2.0], [3.0, 4.0]]), _ids(9, 11))
    tf.train.Checkpoint(store=store).write(str(tmp_path / "store"))
    tf.train.Checkpoint(store=other).read(str(tmp_path / "store")).assert_consumed()
    for one, two in zip(store.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_writing_works_in_a_compiled_step_with_batches_of_any_size() -> None:
    store = _store()
    specs = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int64)]
    write = tf.function(store.write, input_signature=specs)
    for size in (1, 0, 4):
        write(tf.range(size, dtype=tf.int64), tf.ones([size, 2]), tf.range(size, dtype=tf.int64))
    assert store.counts.numpy().tolist() == [0, 1, 1, 1, 0, 0]


def test_its_config_makes_its_like() -> None:
    config = _store(9, 4, 0.25).get_config()
    again = VectorStore.from_config(config)
    assert (again.size, again.width, again.decay) == (9, 4, 0.25) and again.get_config() == config


@pytest.mark.parametrize(
    "wrong", [{"size": 0, "width": 2}, {"size": 3, "width": 0}, {"size": 3, "width": 2, "decay": 1.5}]
)
def test_wrong_sizes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        VectorStore(**wrong)  # type: ignore[arg-type]


def test_an_id_above_the_store_is_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"not in \[0, 6\)"):
        _store()(_ids(6))
