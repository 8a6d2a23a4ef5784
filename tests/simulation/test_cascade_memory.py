"""Histories and counters, against plain Python lists."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulation.cascade_world import Memory

CLICKS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=12), max_size=6)


@given(CLICKS, st.integers(1, 5))
def test_histories_are_the_last_clicks_of_each_user_in_order(
    blocks: list[list[tuple[int, int]]], history_length: int
) -> None:
    memory = Memory(users=4, items=10, history_length=history_length)
    expected: dict[int, list[int]] = {user: [] for user in range(4)}
    for block in blocks:
        users = np.array([user for user, _ in block], np.int64)
        memory.remember_clicks(users, np.array([item for _, item in block], np.int64))
        for user, item in block:
            expected[user].append(item)
        asked = [2, 0, 2, 3, 1]
        found = memory.histories(np.array(asked))
        lists = [found.items[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
        assert lists == [expected[user][-history_length:] for user in asked]


def test_counters_count_every_impression_and_click() -> None:
    memory = Memory(users=1, items=4, history_length=1)
    memory.count(np.array([0, 1, 1, 3]), np.array([1]))
    memory.count(np.array([1, 2]), np.array([1, 2]))
    assert memory.impressions.tolist() == [Counter([0, 1, 1, 3, 1, 2])[item] for item in range(4)]
    assert memory.clicks.tolist() == [0, 2, 1, 0]
