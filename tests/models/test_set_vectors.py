from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.set_vectors import SetVectors, candidate_mask, history_mask, with_dense_lists
from tests.helpers.set_batches import INPUTS, REAL, set_batch
from transforms.features import ModelInput

_NUMBERS = ModelInput(name="seconds", space=None, shape="ragged", entity="user")


def _mask(features: dict[str, Any], inputs: Sequence[ModelInput] = INPUTS) -> np.ndarray:
    mask = history_mask(features, inputs)
    assert mask is not None
    found: np.ndarray = mask.numpy()
    return found


def test_lists_become_dense_with_zeros_behind() -> None:
    features = with_dense_lists(set_batch(), INPUTS)
    np.testing.assert_array_equal(features["history"], [[4, 6, 2], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(features["history_category"], [[1, 2, 1], [0, 0, 0], [3, 0, 0]])
    assert features["user"] is not None and features["item"].shape == (3, 4)


def test_a_list_longer_than_max_length_keeps_the_last() -> None:
    batch = set_batch(((1, 2, 3, 4, 5, 6), (), (7, 8)), ((1, 1, 1, 2, 3, 1), (), (2, 2)))
    features = with_dense_lists(batch, INPUTS)
    np.testing.assert_array_equal(features["history"], [[3, 4, 5, 6], [0, 0, 0, 0], [7, 8, 0, 0]])


def test_lists_of_different_lengths_are_as_long_as_the_longest_of_any() -> None:
    features = with_dense_lists(set_batch(((1,), (), ()), ((2, 3), (), (1,))), INPUTS)
    np.testing.assert_array_equal(features["history"], [[1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(_mask(features), [[1, 1], [0, 0], [1, 0]])


def test_no_history_at_all_has_length_zero() -> None:
    features = with_dense_lists(set_batch(((), (), ()), ((), (), ())), INPUTS)
    assert features["history"].shape == (3, 0) and _mask(features).shape == (3, 0)


def test_an_empty_batch_has_lists_of_length_zero() -> None:
    empty = {"history": tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int64), tf.zeros([1], tf.int64))}
    assert with_dense_lists(empty, INPUTS[2:3])["history"].shape == (0, 0)


def test_an_element_without_any_id_is_not_real() -> None:
    features = with_dense_lists(set_batch(((4, 0, 2), (), (0,)), ((1, 2, 0), (), (0,))), INPUTS)
    np.testing.assert_array_equal(_mask(features), [[1, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_numbers_alone_all_count_as_real() -> None:
    features = with_dense_lists({"seconds": tf.ragged.constant([[1.0, 0.0], [2.0]])}, [_NUMBERS])
    np.testing.assert_array_equal(_mask(features, [_NUMBERS]), [[True, True], [True, True]])


def test_without_lists_nothing_changes() -> None:
    scalars = INPUTS[:2]
    assert with_dense_lists({"user": 1}, scalars) == {"user": 1} and history_mask({}, scalars) is None


def test_candidates_are_real_where_the_batch_says_so_else_all() -> None:
    like = tf.zeros([3, 4, 2])
    np.testing.assert_array_equal(candidate_mask(set_batch(), like), REAL)
    assert candidate_mask({}, like).numpy().all() and candidate_mask({}, like).dtype == tf.bool


def _vectors() -> SetVectors:
    ones = tf.ones([2, 3], tf.bool)
    return SetVectors(tf.ones([2, 1, 5]), tf.ones([2, 3, 2, 5]), ones, tf.ones([2, 3, 4, 5]), ones)


def test_resized_vectors_are_padded_to_static_sizes() -> None:
    @tf.function(autograph=False)
    def resized(vectors: SetVectors) -> SetVectors:
        return vectors.resized(6, 4)

    found = resized(_vectors())
    assert [part.shape for part in found] == [(2, 1, 5), (2, 4, 2, 5), (2, 4), (2, 6, 4, 5), (2, 6)]
    np.testing.assert_array_equal(found.history_mask, [[1, 1, 1, 0]] * 2)
    np.testing.assert_array_equal(found.candidate_mask, [[1, 1, 1, 0, 0, 0]] * 2)
    assert found.candidates.numpy()[:, :3].all() and not found.candidates.numpy()[:, 3:].any()


def test_more_than_the_static_size_is_refused() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        _vectors().resized(2, 3)
