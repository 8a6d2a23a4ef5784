"""Candidates of RecFlow requests: every shown item, then equal shares of the other stages."""

import numpy as np
import pytest

from transforms.sources.recflow.read import chosen_candidates


def kept_stages(stages, list_size, seed=0):
    """Sorted stages of the items kept of one request."""
    stages = np.array(stages)
    items = np.arange(len(stages)) + 10
    kept = chosen_candidates(np.zeros(len(stages), int), np.full(len(stages), 3), items, stages, list_size, seed)
    return sorted(stages[kept].tolist(), reverse=True)


@pytest.mark.parametrize(
    ("stages", "list_size", "expected"),
    [
        # Room for all.
        ([5, 1, 2, 3], 4, [5, 3, 2, 1]),
        ([5, 1, 2, 3], 9, [5, 3, 2, 1]),
        # Two shown, and one of each of four stages.
        ([1] * 9 + [5, 5] + [2] * 9 + [3] * 9 + [4] * 9, 6, [5, 5, 4, 3, 2, 1]),
        # Two of each; what is left over goes to the latest stages.
        ([1] * 9 + [5, 5] + [2] * 9 + [3] * 9 + [4] * 9, 12, [5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 1, 1]),
        # A stage that has too few gives its place to the others.
        ([4] + [3] * 2 + [2] * 9 + [1] * 9, 9, [4, 3, 3, 2, 2, 2, 1, 1, 1]),
        # The shown ones fill the list.
        ([4] * 5 + [5] * 3, 3, [5, 5, 5]),
        ([1, 1, 1], 2, [1, 1]),
    ],
)
def test_shown_items_come_first_and_stages_share_the_rest_alike(stages, list_size, expected):
    assert kept_stages(stages, list_size) == expected


def made_up(seed=1, requests=40):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 60, requests)
    owner = np.repeat(np.arange(requests), sizes)
    request = 1000 + owner * 7
    item = np.concatenate([rng.choice(500, size, replace=False) for size in sizes])
    return owner, request, item, rng.choice([1, 2, 3, 4, 5], len(owner), p=[0.4, 0.3, 0.1, 0.1, 0.1])


def test_the_order_of_rows_does_not_matter():
    owner, request, item, stage = made_up()
    order = np.random.default_rng(2).permutation(len(owner))
    first = chosen_candidates(owner, request, item, stage, 16, seed=4)
    second = chosen_candidates(owner[order], request[order], item[order], stage[order], 16, seed=4)
    assert (first[order] == second).all()
    assert 0 < first.sum() < len(first)


def test_a_request_alone_keeps_the_same_items_as_among_others():
    owner, request, item, stage = made_up()
    kept = chosen_candidates(owner, request, item, stage, 16, seed=4)
    for index in range(owner[-1] + 1):
        own = owner == index
        alone = chosen_candidates(owner[own] * 0, request[own], item[own], stage[own], 16, seed=4)
        assert (alone == kept[own]).all()


def test_another_seed_keeps_other_items_of_the_same_stages():
    owner, request, item, stage = made_up()
    first, second = (chosen_candidates(owner, request, item, stage, 16, seed) for seed in (1, 2))
    assert (first != second).any()
    for value in range(1, 6):
        assert (np.bincount(owner[first & (stage == value)]) == np.bincount(owner[second & (stage == value)])).all()


def test_within_a_stage_every_item_is_kept_equally_often():
    requests, items = 4000, 10
    owner, item = np.repeat(np.arange(requests), items), np.tile(np.arange(items), requests)
    kept = chosen_candidates(owner, owner + 5, item, np.ones(len(owner), int), 3, seed=0)
    share = np.bincount(item[kept], minlength=items) / requests
    # The standard deviation of a share is sqrt(0.3 0.7 / 4000) = 0.007.
    np.testing.assert_allclose(share, 0.3, atol=0.03)
