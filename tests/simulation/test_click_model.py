"""The click model of a learned logging cascade: what it fits, and what its scores know."""

import numpy as np
import pytest
from scipy.optimize import minimize

from simulation.cascade import ABSENT
from simulation.cascade_log import simulate
from simulation.cascade_world import CascadeWorld
from simulation.click_model import PRIOR, fit, sum_of
from simulation.parameters import World

SMALL = {
    "users": 60, "items": 150, "pool_size": 60, "candidates": 24, "min_candidates": 16, "ranked_items": 12,
    "exposed_items": 6, "base_logit": -1.0, "popularity_bias": 0.0,
}  # fmt: skip
LEARNED = {**SMALL, "logging_model": "clicks", "learning_requests": 2000}
GOLDEN = "2c44af97725d3e6f"


def test_the_fit_is_the_logistic_regression_with_a_normal_prior():
    rng = np.random.default_rng(1)
    ids = [rng.integers(0, 4, 400), rng.integers(0, 3, 400)]
    label = (rng.random(400) < 0.2 + 0.15 * ids[0]).astype(np.float64)
    weights = fit(ids, (4, 3), label)
    rate = (label.sum() + 1) / 402

    def loss(values):
        logit = np.log(rate / (1 - rate)) + values[:4][ids[0]] + values[4:][ids[1]]
        return np.sum(np.logaddexp(0, logit) - label * logit) + PRIOR / 2 * np.sum(values**2)

    # The weights of both fields move a little against each other until the last pass.
    np.testing.assert_allclose(np.concatenate(weights), minimize(loss, np.zeros(7)).x, atol=0.01)
    assert sum_of(weights, [np.array([3]), np.array([1])]) == pytest.approx(weights[0][3] + weights[1][1])


def correlations(values):
    """Correlations over candidates, within requests, of the ranking score with the true relevance and the model."""
    world = World(**{**values, "retrieval_noise": 3.0, "preranking_noise": 3.0, "ranking_noise": 0.0})
    cascade_world = CascadeWorld(world, 768, seed=5)
    blocks = [cascade_world.answer(256) for _ in range(3)]
    real = np.concatenate([block.item != ABSENT for block in blocks])

    def centered(rows):
        means = np.sum(rows * real, axis=1, keepdims=True) / real.sum(axis=1, keepdims=True)
        return (rows - means)[real]

    score, truth = (
        centered(np.concatenate(rows))
        for rows in ([b.outcome.score for b in blocks], [b.relevance for b in blocks])
    )  # fmt: skip
    return float(np.corrcoef(score, truth)[0, 1])


def test_scores_of_a_learned_cascade_know_of_the_truth_only_what_clicks_gave():
    # Without noise and popularity the score is the relevance itself, or what was learned of it.
    assert correlations(SMALL) == pytest.approx(1.0, abs=1e-5)
    few, many = (correlations({**LEARNED, "learning_requests": number}) for number in (30, 3000))
    assert 0.0 < few < many < 0.9 and many > 0.4


def test_a_learned_cascade_changes_neither_the_members_of_a_world_nor_its_truth():
    plain, learned = (CascadeWorld(World(**values), 256, seed=5) for values in (SMALL, LEARNED))
    np.testing.assert_array_equal(plain.items.taste, learned.items.taste)
    np.testing.assert_array_equal(plain.arrivals.moment, learned.arrivals.moment)
    one, other = plain.answer(256), learned.answer(256)
    common = (one.item[:, :, None] == other.item[:, None, :]) & (one.item != ABSENT)[:, :, None]
    row, left, right = np.nonzero(common)
    # Who is retrieved differs, how relevant an item is does not.
    assert len(row) > 500
    np.testing.assert_array_equal(one.relevance[row, left], other.relevance[row, right])


def test_a_written_log_of_a_learned_cascade_has_the_golden_hash(tmp_path):
    values = {**LEARNED, "learning_requests": 300}
    assert simulate(tmp_path / "log", World.model_validate(values), 300, seed=11).sha256.startswith(GOLDEN)


def test_a_world_without_a_learned_cascade_is_described_as_before():
    assert {"logging_model", "learning_requests"}.isdisjoint(World().model_dump())
    learned = World(logging_model="clicks")
    assert World.model_validate(learned.model_dump()) == learned and learned.model_dump()["learning_requests"] == 20_000
