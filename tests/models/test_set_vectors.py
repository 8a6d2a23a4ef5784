from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.set_vectors import SetVectors, candidate_mask, with_dense_lists
from tests.helpers.set_batches import INPUTS, REAL, set_batch
from transforms.features import ModelInput

_NUMBERS = ModelInput(name="seconds", vocabulary=None, shape="ragged", entity="user")


def _dense(features: dict[str, Any], inputs: Sequence[ModelInput] = INPUTS) -> tuple[dict[str, Any], np.ndarray]:
    dense, mask = with_dense_lists(features, inputs)
    assert mask is not None
    return dense, mask.numpy()


def test_lists_become_dense_with_zeros_behind() -> None:
    features, _ = _dense(set_batch())
    np.testing.assert_array_equal(features["history"], [[4, 6, 2], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(features["history_category"], [[1, 2, 1], [0, 0, 0], [3, 0, 0]])
    assert features["user"] is not None and features["item"].shape == (3, 4)


def test_a_list_longer_than_max_length_keeps_the_last() -> None:
    batch = set_batch(((1, 2, 3, 4, 5, 6), (), (7, 8)), ((1, 1, 1, 2, 3, 1), (), (2, 2)))
    features, _ = _dense(batch)
    np.testing.assert_array_equal(features["history"], [[3, 4, 5, 6], [0, 0, 0, 0], [7, 8, 0, 0]])


def test_lists_of_different_lengths_are_as_long_as_the_longest_of_any() -> None:
    features, mask = _dense(set_batch(((1,), (), ()), ((2, 3), (), (1,))))
    np.testing.assert_array_equal(features["history"], [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1], [0, 0], [1, 0]])


def test_no_history_at_all_has_length_zero() -> None:
    features, mask = _dense(set_batch(((), (), ()), ((), (), ())))
    assert features["history"].shape == (3, 0) and mask.shape == (3, 0)


def test_an_empty_batch_has_lists_of_length_zero() -> None:
    empty = {"history": tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int64), tf.zeros([1], tf.int64))}
    features, mask = _dense(empty, INPUTS[2:3])
    assert features["history"].shape == (0, 0) and mask.shape == (0, 0)


def test_an_element_without_any_id_is_not_real() -> None:
    _, mask = _dense(set_batch(((4, 0, 2), (), (0,)), ((1, 2, 0), (), (0,))))
    np.testing.assert_array_equal(mask, [[1, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_numbers_alone_are_real_up_to_the_end_of_the_longest_list() -> None:
    prices = ModelInput(name="prices", vocabulary=None, shape="ragged", entity="user", max_length=2)
    features = {
        "seconds": tf.ragged.constant([[1.0, 0.0], [2.0], []]),
        "prices": tf.ragged.constant([[3.0] * 5, [], []]),
    }
    dense, mask = _dense(features, [_NUMBERS, prices])
    np.testing.assert_array_equal(mask, [[1, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(dense["seconds"], [[1, 0], [2, 0], [0, 0]])


def test_numbers_beside_ids_are_real_where_an_id_is() -> None:
    features = {"seconds": tf.ragged.constant([[1.0, 2.0, 3.0], [2.0]]), "history": tf.ragged.constant([[4, 0], [1]])}
    _, mask = _dense(features, [_NUMBERS, INPUTS[2]])
    np.testing.assert_array_equal(mask, [[1, 0, 0], [1, 0, 0]])


def test_without_lists_nothing_changes() -> None:
    scalars = INPUTS[:2]
    assert with_dense_lists({"user": 1}, scalars) == ({"user": 1}, None)


def test_candidates_are_real_where_the_batch_says_so_else_all() -> None:
    like = tf.zeros([3, 4, 2])
    np.testing.assert_array_equal(candidate_mask(set_batch(), like), REAL)
    assert candidate_mask({}, like).numpy().all() and candidate_mask({}, like).dtype == tf.bool


def _vectors() -> SetVectors:
    ones = tf.ones([2, 3], tf.bool)
    return SetVectors(tf.ones([2, 1, 5]), tf.ones([2, 3, 2, 5]), ones, tf.ones([2, 3, 4, 5]), ones, tf.ones([2, 3]))


def test_resized_vectors_are_padded_to_static_sizes() -> None:
    @tf.function(autograph=False)
    def resized(vectors: SetVectors) -> SetVectors:
        return vectors.resized(6, 4)

    found = resized(_vectors())
    sizes = [part.shape for part in found if part is not None]
    assert sizes == [(2, 1, 5), (2, 4, 2, 5), (2, 4), (2, 6, 4, 5), (2, 6), (2, 6)]
    np.testing.assert_array_equal(found.history_mask, [[1, 1, 1, 0]] * 2)
    np.testing.assert_array_equal(found.candidate_mask, [[1, 1, 1, 0, 0, 0]] * 2)
    assert found.candidates.numpy()[:, :3].all() and not found.candidates.numpy()[:, 3:].any()


def test_more_than_the_static_size_is_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        _vectors().resized(2, 3)
