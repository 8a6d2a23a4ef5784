"""What came before: among the last keys, and over restarts."""

import numpy as np

from models.training.recent_keys import RecentKeys


def _as_lists(found: np.ndarray) -> list[bool]:
    return found.astype(bool).tolist()


def test_a_key_is_new_once_also_within_one_batch() -> None:
    keys = RecentKeys(4)
    assert _as_lists(keys.take(np.array([7, 8, 7]))) == [True, True, False]
    assert _as_lists(keys.take(np.array([8, 9]))) == [False, True]


def test_the_oldest_of_more_keys_than_fit_is_forgotten() -> None:
    keys = RecentKeys(2)
    keys.take(np.array([1, 2, 3]))
    # 1 is gone; taking it again drives 2 out.
    assert _as_lists(keys.take(np.array([3, 1, 3, 2]))) == [False, True, False, True]


def test_a_copy_from_the_state_goes_on_as_the_original() -> None:
    random = np.random.default_rng(0)
    keys = RecentKeys(16)
    keys.take(random.integers(0, 40, 30))
    copy = RecentKeys(16, keys.state)
    for _ in range(20):
        batch = random.integers(0, 40, 5)
        assert _as_lists(keys.take(batch)) == _as_lists(copy.take(batch))
    np.testing.assert_array_equal(keys.state, copy.state)


def test_against_a_plain_list() -> None:
    random = np.random.default_rng(1)
    keys, last = RecentKeys(8), list[int]()
    for key in random.integers(0, 20, 500).tolist():
        assert bool(keys.take(np.array([key]))[0]) == (key not in last)
        if key not in last:
            last = [*last, key][-8:]
