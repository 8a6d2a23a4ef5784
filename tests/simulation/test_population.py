"""World files, and what the parameters do to the population."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from simulation.clicks import Requests, relevance
from simulation.parameters import World, load_world, worlds
from simulation.population import Tastes, create_items, create_users
from transforms.errors import InputError


def written(folder: Path, text: str) -> Path:
    path = folder / "world.yaml"
    path.write_text(text)
    return path


def test_the_default_world_file_states_every_parameter_with_its_default() -> None:
    assert yaml.safe_load(worlds()["default"].read_text()) == World().model_dump()
    assert load_world(None) == World()


def test_the_controls_switch_off_what_they_name() -> None:
    assert sorted(worlds()) == ["default", "learned_cascade", "no_bias", "no_set_effect", "random_exposure"]
    assert load_world("learned_cascade").logging_model == "clicks"
    assert load_world("no_set_effect").set_effect == 0
    assert load_world("no_bias") == World(popularity_bias=0)
    random = load_world("random_exposure")
    assert (random.popularity_bias, random.relevance_weight) == (0, 0)


def test_a_world_file_changes_what_it_states(tmp_path: Path) -> None:
    assert load_world(written(tmp_path, "users: 7\ndrift: 0\n")) == World(users=7, drift=0)
    assert load_world(written(tmp_path, "")) == World()


@pytest.mark.parametrize(
    ("text", "where", "fix"),
    [
        ("set_efect: 1\n", "key 'set_efect'", "did you mean 'set_effect'?"),
        ("users: 0\n", "key 'users'", "correct the value"),
        ("users: many\n", "key 'users'", "correct the value"),
        ("drift: .inf\n", "key 'drift'", "correct the value"),
        ("exposed_items: 40\n", "world.yaml", "correct the sizes"),
        ("- 1\n", "world.yaml", "see the world files"),
        ("a: [\n", "world.yaml", "correct the file"),
    ],
)
def test_a_wrong_world_file_is_refused_with_the_fix(tmp_path: Path, text: str, where: str, fix: str) -> None:
    with pytest.raises(InputError) as refused:
        load_world(written(tmp_path, text))
    assert where in refused.value.where
    assert fix in refused.value.fix


def test_an_unknown_world_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'no_bias'"):
        load_world("no_bais")


def test_popularity_is_a_power_of_the_rank() -> None:
    items = create_items(World(items=50, item_exponent=1.5), np.random.default_rng(0))
    expected = [rank**-1.5 for rank in range(1, 51)]
    np.testing.assert_allclose(np.sort(items.popularity)[::-1], expected)
    assert items.popularity_score[items.popularity.argmax()] == 1
    assert items.popularity_score[items.popularity.argmin()] == -1


def test_the_match_of_tastes_has_variance_one_and_visible_groups_explain_their_share() -> None:
    world = World(users=4000, items=4000, segments=400, categories=400, taste_dim=32, visible_share=0.5)
    users, items = create_users(world, np.random.default_rng(1)), create_items(world, np.random.default_rng(2))
    tastes = Tastes(world, users, np.random.default_rng(3)).of(np.arange(4000))
    assert (tastes @ items.taste.T).std() == pytest.approx(1.0, rel=0.05)
    assert (users.segment_taste**2).mean() / (tastes**2).mean() == pytest.approx(0.5, rel=0.05)


def test_categories_complement_their_two_neighbours_on_a_ring() -> None:
    table = create_items(World(categories=7), np.random.default_rng(0)).complements
    assert (table == table.T).all()
    assert (table.sum(axis=1) == 2).all()
    assert not table.diagonal().any()


def test_drift_renews_its_share_a_day_and_keeps_the_variance() -> None:
    world = World(users=20_000, taste_dim=4, visible_share=0.0, drift=0.19)
    tastes = Tastes(world, create_users(world, np.random.default_rng(0)), np.random.default_rng(1))
    everybody = np.arange(world.users)
    before = tastes.of(everybody)
    tastes.advance(43_200.0)
    tastes.advance(86_400.0)
    after = tastes.of(everybody)
    # A day later 0.81 of the variance is old, so the correlation is 0.9.
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] == pytest.approx(0.9, abs=0.01)
    assert after.std() == pytest.approx(1.0, abs=0.01)


def test_tastes_stand_still_without_drift() -> None:
    world = World(users=5, drift=0.0)
    tastes = Tastes(world, create_users(world, np.random.default_rng(0)), np.random.default_rng(1))
    before = tastes.of(np.arange(5))
    tastes.advance(1e6)
    np.testing.assert_array_equal(tastes.of(np.arange(5)), before)


def test_relevance_is_the_sum_of_its_terms() -> None:
    world = World(users=3, items=4, start_timestamp=0)
    users, items = create_users(world, np.random.default_rng(1)), create_items(world, np.random.default_rng(2))
    taste = np.random.default_rng(3).standard_normal((1, world.taste_dim), dtype=np.float32)
    moment = 6 * 3600  # six in the morning: the daily wave is at its top
    found = relevance(
        world, users, items, Requests(np.array([2]), np.array([moment]), np.array([0]), taste), np.array([[0, 3]])
    )
    for column, item in enumerate([0, 3]):
        hours = max(moment - items.birth[item], 0) / 3600
        expected = -3.6 + 1.2 * float(items.taste[item] @ taste[0]) + items.quality[item] + users.readiness[2]
        expected += 0.5 * np.exp(-hours / 72) + 0.2 * (-0.5 + 1.0)
        expected -= users.price_sensitivity[2] * items.price_score[item]
        assert found[0, column] == pytest.approx(expected, abs=1e-5)
