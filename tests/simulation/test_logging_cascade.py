"""The logging cascade: pools, scores, cuts, and what its biases do to exposure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.cascade import ABSENT, EXPOSED, RANKED, best, draw_pools, inclusion_shares, logging_scores
from simulation.cascade_world import Block, CascadeWorld
from simulation.parameters import World, load_world
from simulation.population import create_items

SMALL = {"users": 200, "items": 600, "pool_size": 120, "candidates": 50, "min_candidates": 40, "ranked_items": 20}


def answered(requests: int, **world: float) -> tuple[CascadeWorld, list[Block]]:
    cascade_world = CascadeWorld(World(**{**SMALL, **world}), requests, seed=5)
    return cascade_world, [cascade_world.answer(256) for _ in range(-(-requests // 256))]


def test_inclusion_shares_follow_weights_up_to_certainty() -> None:
    # 10 weighs so much that it is certain; the others share the one draw left as 1 : 1 : 2.
    shares = inclusion_shares(np.array([10.0, 1.0, 1.0, 2.0]), 2)
    np.testing.assert_allclose(shares, [1, 0.25, 0.25, 0.5])


@given(st.integers(1, 60), st.integers(1, 40), st.floats(0, 3), st.integers(0, 99))
def test_a_pool_holds_living_items_at_most_once(items: int, size: int, exponent: float, seed: int) -> None:
    alive = np.arange(items) * 2 + 1
    weights = (np.arange(items) + 1.0) ** -exponent
    for pool in draw_pools(alive, weights, 8, size, np.random.default_rng(seed)):
        drawn = pool[pool != ABSENT].tolist()
        assert 1 <= len(drawn) <= min(size, items)
        assert len(set(drawn)) == len(drawn)
        assert set(drawn) <= set(alive.tolist())


def test_items_are_drawn_in_proportion_to_their_weights() -> None:
    rng = np.random.default_rng(1)
    weights = np.array([1.0, 2.0, 4.0] + [1.0] * 13)  # 20 in all
    drawn = np.concatenate([draw_pools(np.arange(16), weights, 50, 4, rng).ravel() for _ in range(200)])
    found = np.bincount(drawn[drawn != ABSENT], minlength=16)[:3] / 10_000
    # Shares 4 / 20, 8 / 20, 16 / 20; draws that meet an item twice are dropped, so a little less.
    assert (found <= np.array([0.2, 0.4, 0.8]) + 0.015).all()
    assert (found >= np.array([0.2, 0.4, 0.8]) * 0.8).all()


def test_best_keeps_the_highest_eligible_scores() -> None:
    scores = np.array([[5, 1, 4, 3], [1, 2, 3, 4]], np.float32)
    eligible = np.array([[True, True, False, True], [True, False, False, False]])
    chosen = best(scores, eligible, np.array([2, 2]), 3)
    assert chosen.tolist() == [[True, False, False, True], [True, False, False, False]]


def test_of_equal_scores_the_first_are_kept() -> None:
    scores = np.zeros((3, 300), np.float32)
    scores[1, 150] = 1.0
    scores[2, 1] = -1.0
    chosen = best(scores, np.ones((3, 300), np.bool_), np.array([5, 3, 0]), 40)
    assert [np.flatnonzero(row).tolist() for row in chosen] == [[0, 1, 2, 3, 4], [0, 1, 150], []]


def test_scores_are_weighted_relevance_plus_bias_of_popularity() -> None:
    world = World(items=3, relevance_weight=2.0, popularity_bias=0.5)
    items = create_items(world, np.random.default_rng(0))
    by_rank = np.argsort(-items.popularity)
    scores = logging_scores(
        world, items, np.array([[1, 1, 1]], np.float32), by_rank[None], 0.0, np.random.default_rng(0)
    )
    # The most popular of three gains 0.5, the middle one nothing, the least popular loses 0.5.
    np.testing.assert_allclose(scores, [[2.5, 2.0, 1.5]], rtol=1e-6)


def test_noise_has_its_standard_deviation_and_no_mean() -> None:
    world = World(popularity_bias=0.0)
    items = create_items(world, np.random.default_rng(0))
    relevance = np.linspace(-3, 3, 40_000, dtype=np.float32).reshape(4, -1)
    item = np.random.default_rng(1).integers(0, world.items, relevance.shape)
    noise = logging_scores(world, items, relevance, item, 1.5, np.random.default_rng(2)) - relevance
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.std() == pytest.approx(1.5, rel=0.02)
    assert np.corrcoef(noise.ravel(), items.popularity[item].ravel())[0, 1] == pytest.approx(0, abs=0.02)


def test_stages_are_nested_and_have_their_sizes() -> None:
    _, blocks = answered(512)
    for block in blocks:
        stage, position = block.outcome.stage, block.outcome.position
        assert ((stage > 0) == (block.item != ABSENT)).all()
        assert ((stage >= 1).sum(axis=1) <= 50).all()
        assert ((stage >= 1).sum(axis=1) >= 40).all()
        assert ((stage >= RANKED).sum(axis=1) == 20).all()
        assert ((stage == EXPOSED) == (position > 0)).all()
        assert all(sorted(row[row > 0].tolist()) == list(range(1, 11)) for row in position)


def test_position_falls_with_the_ranking_score() -> None:
    _, blocks = answered(64)
    score, position = blocks[0].outcome.score, blocks[0].outcome.position
    for row in range(len(position)):
        by_position = np.argsort(np.where(position[row] > 0, position[row], 99))[:10]
        assert (np.diff(score[row, by_position]) <= 0).all()


def test_no_candidate_is_shown_before_it_is_born() -> None:
    cascade_world, blocks = answered(512, born_share=0.5)
    for block in blocks:
        birth = np.where(block.item == ABSENT, -np.inf, cascade_world.items.birth[block.item])
        assert (birth <= block.requests.moment[:, None]).all()


def exposure_by_popularity(**world: float) -> float:
    """Slope of exposure on popularity among candidates, given relevance, by least squares."""
    cascade_world, blocks = answered(3000, **world)
    real = np.concatenate([(b.item != ABSENT).ravel() for b in blocks])
    item = np.concatenate([b.item.ravel() for b in blocks])[real]
    # What all candidates of a request share has no say in who is shown.
    own = [b.relevance - b.relevance.mean(axis=1, keepdims=True) for b in blocks]
    relevance = np.concatenate([values.ravel() for values in own])[real]
    exposed = np.concatenate([(b.outcome.position > 0).ravel() for b in blocks])[real]
    design = np.stack([np.ones_like(relevance), relevance, cascade_world.items.popularity_score[item]], axis=1)
    return float(np.linalg.lstsq(design.astype(np.float64), exposed.astype(np.float64), rcond=None)[0][2])


def test_exposure_follows_popularity_given_relevance_only_where_there_is_bias() -> None:
    # 10 of about 45 are shown; a standard error is about 0.002.
    assert exposure_by_popularity(popularity_bias=0.0) == pytest.approx(0.0, abs=0.01)
    assert exposure_by_popularity(popularity_bias=1.0) > 0.05


def test_in_the_world_of_random_exposure_the_shown_are_like_the_unshown() -> None:
    world = load_world("random_exposure").model_copy(update={"exposed_items": 10})
    cascade_world = CascadeWorld(world, 1024, 3)
    blocks = [cascade_world.answer(256) for _ in range(4)]
    relevance = np.concatenate([b.relevance.ravel() for b in blocks])
    stage = np.concatenate([b.outcome.stage.ravel() for b in blocks])
    shown, unshown = relevance[stage == EXPOSED], relevance[(stage > 0) & (stage < EXPOSED)]
    assert shown.mean() == pytest.approx(unshown.mean(), abs=0.05)
    assert shown.std() == pytest.approx(unshown.std(), abs=0.05)


def test_worlds_that_differ_in_one_strength_have_the_same_members() -> None:
    weak, strong = CascadeWorld(World(set_effect=0), 10, 1), CascadeWorld(World(set_effect=4), 10, 1)
    np.testing.assert_array_equal(weak.items.taste, strong.items.taste)
    np.testing.assert_array_equal(weak.users.segment, strong.users.segment)
    np.testing.assert_array_equal(weak.arrivals.moment, strong.arrivals.moment)


def test_an_answer_beyond_the_log_is_refused() -> None:
    cascade_world = CascadeWorld(World(), 3, 1)
    cascade_world.answer(3)
    with pytest.raises(ValueError, match="asked for 1 requests after 3 of 3"):
        cascade_world.answer(1)
