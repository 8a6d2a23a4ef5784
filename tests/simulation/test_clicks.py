"""The click model, against examples worked out by hand."""

import math

import numpy as np
import pytest

from simulation.clicks import click_probability, neighbor_effects
from simulation.parameters import World
from simulation.population import Items


def some_items(directions: list[list[float]], categories: list[int], complements: list[list[bool]]) -> Items:
    """Items of which only tastes and categories matter."""
    taste, size = np.array(directions, np.float32), len(directions)
    zeros = np.zeros(size, np.float32)
    return Items(
        category=np.array(categories),
        taste=taste,
        direction=taste / np.linalg.norm(taste, axis=1, keepdims=True),
        quality=zeros,
        price=zeros + 1,
        price_score=zeros,
        birth=np.zeros(size),
        popularity=np.ones(size),
        popularity_score=zeros,
        complements=np.array(complements),
    )


# Items 0 and 1 are alike; 2 is at right angles to them, and its category complements theirs; 3 is at
# 60 degrees to item 0; 4 looks the other way.
ITEMS = some_items(
    [[1, 0], [1, 0], [0, 1], [1, math.sqrt(3)], [-1, 0]],
    [0, 0, 1, 0, 0],
    [[False, True], [True, False]],
)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def probabilities(items: list[int], positions: list[int], relevance: list[float], **world: float) -> list[float]:
    values = click_probability(
        World(**world),
        ITEMS,
        np.array([relevance], np.float32),
        np.array([items]),
        np.array([positions]),
    )
    return list(values[0])


def test_effects_of_neighbours_are_complement_less_positive_cosine() -> None:
    effects = neighbor_effects(ITEMS, np.array([[0]]), np.array([[0, 1, 2, 3, 4]]))
    # alike: 0 - 1; complementary at right angles: 1 - 0; 60 degrees: 0 - 1/2; opposite: 0 - 0
    np.testing.assert_allclose(effects, [[[-1, -1, 1, -0.5, 0]]], atol=1e-6)


def test_a_like_neighbour_suppresses_and_a_complementary_one_lifts() -> None:
    alike = probabilities([0, 1], [1, 2], [0.0, 0.0], set_effect=2.0, position_effect=0.0)
    complementary = probabilities([0, 2], [1, 2], [0.0, 0.0], set_effect=2.0, position_effect=0.0)
    np.testing.assert_allclose(alike, [sigmoid(-2), sigmoid(-2)], rtol=1e-6)
    np.testing.assert_allclose(complementary, [sigmoid(2), sigmoid(2)], rtol=1e-6)


def test_the_effect_is_the_mean_over_the_other_items_shown() -> None:
    values = probabilities([0, 1, 2], [1, 2, 3], [0.5, 0.0, 0.0], set_effect=3.0, position_effect=0.0)
    # Item 0: (-1 + 1) / 2 = 0; item 1 likewise; item 2: (1 + 1) / 2 = 1.
    np.testing.assert_allclose(values, [sigmoid(0.5), sigmoid(0.0), sigmoid(3.0)], rtol=1e-6)


def test_without_set_effect_neighbours_do_not_matter() -> None:
    alike = probabilities([0, 1], [1, 2], [0.3, 0.3], set_effect=0.0)
    complementary = probabilities([0, 2], [1, 2], [0.3, 0.3], set_effect=0.0)
    assert alike[0] == complementary[0]
    np.testing.assert_allclose(alike[0], sigmoid(0.3), rtol=1e-6)


def test_position_costs_its_logarithm() -> None:
    values = probabilities([0, 2, 3], [3, 1, 2], [1.0, 1.0, 1.0], set_effect=0.0, position_effect=0.5)
    expected = [sigmoid(1 - 0.5 * math.log(3)), sigmoid(1.0), sigmoid(1 - 0.5 * math.log(2))]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_an_item_not_shown_is_judged_in_place_of_the_middle_item() -> None:
    # Shown: item 2 on top, item 3 in the middle (2 of 3), item 4 below. Item 0 takes the place of item 3:
    # position 2, neighbours 2 (effect 1) and 4 (effect 0).
    values = probabilities([0, 2, 3, 4], [0, 1, 2, 3], [0.4, 0, 0, 0], set_effect=2.0, position_effect=0.5)
    np.testing.assert_allclose(values[0], sigmoid(0.4 - 0.5 * math.log(2) + 2.0 * 0.5), rtol=1e-6)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_the_order_of_candidates_does_not_matter(order: list[int]) -> None:
    items, positions, relevance = [0, 2, 3, 4], [0, 1, 2, 3], [0.4, 0.1, 0.2, 0.3]
    straight = probabilities(items, positions, relevance)
    shuffled = probabilities([items[k] for k in order], [positions[k] for k in order], [relevance[k] for k in order])
    np.testing.assert_allclose(shuffled, [straight[k] for k in order], rtol=1e-6)


def test_a_page_of_one_has_no_neighbours() -> None:
    values = probabilities([0, 1], [1, 0], [0.2, 0.2], set_effect=5.0)
    np.testing.assert_allclose(values, [sigmoid(0.2)] * 2, rtol=1e-6)
