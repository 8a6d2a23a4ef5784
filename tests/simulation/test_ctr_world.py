"""The world of click logs: its truth by hand, its orders, its rows."""

import itertools
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from evaluation.pointwise import auc
from simulation.ctr_world import BLOCK_ROWS, ClickLogWorld, id_frequencies
from simulation.parameters import Category, ClickLogParameters

SMALL = ClickLogParameters(
    categories=(
        Category(name="a", ids=3, exponent=1.0),
        Category(name="b", ids=4, exponent=0.0),
        Category(name="c", ids=2, exponent=2.0),
        Category(name="d", ids=5, exponent=0.5),
    ),
    numbers=("x", "y"), pairs=(("a", "b"), ("b", "c")), triples=(("a", "b", "d"), ("b", "c", "d")), latent_dim=2,
)  # fmt: skip
# Integrals of x^-exponent from k to k + 1, over their sum: ln for exponent 1, 1/x for 2, 2 sqrt(x) for 0.5.
FREQUENCIES = {
    "a": [np.log(2) / np.log(4), np.log(3 / 2) / np.log(4), np.log(4 / 3) / np.log(4)],
    "b": [1 / 4] * 4,
    "c": [(1 - 1 / 2) / (1 - 1 / 3), (1 / 2 - 1 / 3) / (1 - 1 / 3)],
    "d": [(np.sqrt(k + 1) - np.sqrt(k)) / (np.sqrt(6) - 1) for k in range(1, 6)],
}


def changed(**updates: object) -> ClickLogParameters:
    return ClickLogParameters.model_validate(SMALL.model_dump() | updates)


@pytest.fixture(scope="module")
def default_sample() -> dict[str, np.ndarray]:
    return ClickLogWorld(ClickLogParameters(), seed=1).sample(200_000, seed=1)


@pytest.mark.parametrize("category", SMALL.categories, ids=lambda category: category.name)
def test_frequencies_fall_as_a_power_of_the_rank(category: Category) -> None:
    np.testing.assert_allclose(id_frequencies(category), FREQUENCIES[category.name], rtol=1e-12)


def test_ids_are_drawn_with_their_frequencies() -> None:
    sample = ClickLogWorld(SMALL, seed=2).sample(100_000, seed=3)
    for name, expected in FREQUENCIES.items():
        found = np.bincount(sample[name], minlength=len(expected) + 1) / 100_000
        assert found[0] == 0
        np.testing.assert_allclose(found[1:], expected, atol=4 * 0.5 / np.sqrt(100_000))


def test_logit_is_the_bias_and_the_three_orders() -> None:
    """The class's formula, in plain loops."""
    world = ClickLogWorld(SMALL, seed=4)
    sample = world.sample(50, seed=5)
    for row in range(50):
        latent = {name: world.latents[name][:, sample[name][row]].astype(float) for name in "abcd"}
        z_1 = sum(t.sum() for t in latent.values()) / np.sqrt(2)
        z_1 += world.signs[0] * sample["x"][row] + world.signs[1] * sample["y"][row]
        z_2 = sum(latent["a"][d] * latent["b"][d] + latent["b"][d] * latent["c"][d] for d in range(2))
        z_3 = sum(
            latent["a"][d] * latent["b"][d] * latent["d"][d] + latent["b"][d] * latent["c"][d] * latent["d"][d]
            for d in range(2)
        )
        logit = world.bias + world.scales @ [z_1, z_2, z_3]
        assert sample["true_click_probability"][row] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4)


def every_row() -> Iterator[tuple[dict[str, int], float]]:
    """Every combination of ids with its probability."""
    for ids in itertools.product(*(range(1, len(values) + 1) for values in FREQUENCIES.values())):
        row = dict(zip(FREQUENCIES, ids, strict=True))
        yield row, float(np.prod([FREQUENCIES[name][x - 1] for name, x in row.items()]))


def order_of(**strengths: float) -> np.ndarray:
    """Logit without bias of every combination of ids in a world of equal seed and these strengths."""
    silent: dict[str, object] = {"numbers": (), "first_order": 0.0, "second_order": 0.0, "third_order": 0.0}
    world = ClickLogWorld(changed(**{**silent, **strengths}), seed=6)
    rows = [row for row, _ in every_row()]
    probability = world.click_probability({name: np.array([row[name] for row in rows]) for name in FREQUENCIES})
    logit: np.ndarray = np.log(probability / (1 - probability)) - world.bias
    return logit


def test_each_order_has_its_standard_deviation_exactly_and_holds_no_part_of_a_lower_one() -> None:
    rows, weights = zip(*every_row(), strict=True)
    weight = np.array(weights)
    assert weight.sum() == pytest.approx(1.0)
    orders = [order_of(first_order=1.5), order_of(second_order=0.8), order_of(third_order=0.3)]
    covariance = [[weight @ (one * other) for one in orders] for other in orders]
    np.testing.assert_allclose(covariance, np.diag([1.5**2, 0.8**2, 0.3**2]), atol=2e-4)
    for order in orders:
        assert weight @ order == pytest.approx(0.0, abs=1e-4)
    # What a single field, or for the third order a pair of fields, tells of it on average is nothing.
    for names, order in [(pair, orders[2]) for pair in itertools.combinations("abcd", 2)] + [
        ((name,), orders[1]) for name in "abcd"
    ]:
        groups = np.unique([[row[name] for name in names] for row in rows], axis=0, return_inverse=True)[1].reshape(-1)
        np.testing.assert_allclose(np.bincount(groups, weight * order) / np.bincount(groups, weight), 0.0, atol=2e-4)


def test_numbers_act_linearly_with_a_sign_each() -> None:
    world = ClickLogWorld(changed(first_order=1.0, second_order=0.0, third_order=0.0), seed=1)
    base = {name: np.array([1, 1, 1]) for name in "abcd"}
    x, y = np.array([0.0, 1.0, 0.0], np.float32), np.array([0.0, 0.0, 1.0], np.float32)
    probability = world.click_probability({**base, "x": x, "y": y}).astype(float)
    logit = np.log(probability / (1 - probability))
    np.testing.assert_allclose(logit[1:] - logit[0], world.scales[0] * world.signs, rtol=1e-3)
    assert set(np.abs(world.signs)) == {1.0}


def test_labels_follow_the_truth_and_the_click_rate(default_sample: dict[str, np.ndarray]) -> None:
    truth, label = default_sample["true_click_probability"], default_sample["label"]
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0)):
        inside = (truth >= low) & (truth < high)
        error = np.sqrt((truth[inside] * (1 - truth[inside])).sum()) / inside.sum()
        assert abs(label[inside].mean() - truth[inside].mean()) < 4 * error
    assert label.mean() == pytest.approx(0.25, abs=0.005)
    assert set(label.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_the_default_world_the_best_auc_is_that_of_common_logs_and_needs_interactions(seed: int) -> None:
    world = ClickLogWorld(ClickLogParameters(), seed)
    sample = world.sample(60_000, seed)
    best = auc(sample["label"], sample["true_click_probability"])
    first = sum(
        world.latents[category.name][0].take(sample[category.name]) for category in ClickLogParameters().categories
    )
    additive = first + sum(
        sign * sample[name] for sign, name in zip(world.signs, world.parameters.numbers, strict=True)
    )
    without_interactions = auc(sample["label"], additive)
    assert best is not None
    assert without_interactions is not None
    assert 0.78 < best < 0.83
    assert 0.83 < (without_interactions - 0.5) / (best - 0.5) < 0.91


def test_numbers_are_standard_normal(default_sample: dict[str, np.ndarray]) -> None:
    for name in ("n1", "n2", "n3", "n4"):
        assert default_sample[name].mean() == pytest.approx(0.0, abs=0.01)
        assert default_sample[name].std() == pytest.approx(1.0, abs=0.01)


def test_most_rows_carry_frequent_ids_and_most_ids_are_rare(default_sample: dict[str, np.ndarray]) -> None:
    counts = np.bincount(default_sample["c16"], minlength=120_001)[1:]
    assert counts.argmax() == 0
    assert np.sort(counts)[::-1][:100].sum() > 0.9 * 200_000
    assert (counts <= 1).mean() > 0.9


def test_equal_seeds_give_equal_arrays_and_longer_samples_begin_with_shorter_ones() -> None:
    short = ClickLogWorld(SMALL, seed=7).sample(1000, seed=8)
    again = ClickLogWorld(SMALL, seed=7).sample(BLOCK_ROWS + 5, seed=8)
    assert list(short) == [*"abcdxy", "label", "true_click_probability"]
    for name, values in short.items():
        assert values.tobytes() == again[name][:1000].tobytes()
        assert len(again[name]) == BLOCK_ROWS + 5


def test_the_seed_of_the_truth_and_that_of_the_rows_are_apart() -> None:
    base, rows, truth = (
        ClickLogWorld(SMALL, seed).sample(1000, row_seed) for seed, row_seed in ((1, 1), (1, 2), (2, 1))
    )
    np.testing.assert_array_equal(base["a"], truth["a"])
    assert (base["a"] != rows["a"]).any()
    assert (base["true_click_probability"] != truth["true_click_probability"]).all()


def test_blocks_of_rows_do_not_repeat() -> None:
    first, second = ClickLogWorld(SMALL, 1).blocks(2 * BLOCK_ROWS, 1)
    assert (first["x"] != second["x"]).all()


def test_arrays_fit_the_inputs_and_tables_that_a_model_is_told_and_the_truth_is_none_of_them(
    default_sample: dict[str, np.ndarray],
) -> None:
    world = ClickLogWorld(ClickLogParameters(), seed=1)
    names = [entry.name for entry in world.model_inputs]
    assert set(default_sample) - set(names) == {"label", "true_click_probability"}
    for entry in world.model_inputs:
        values = default_sample[entry.name]
        if entry.vocabulary is None:
            assert values.dtype == np.float32
        else:
            assert values.dtype == np.int32
            assert values.min() >= 1
            assert values.max() < world.table_sizes[entry.vocabulary]
    assert world.table_sizes["c01"] == 11
    assert default_sample["c01"].max() == 10


def test_one_core_draws_400_000_rows_a_second() -> None:
    world = ClickLogWorld(ClickLogParameters(), seed=1)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for _block in world.blocks(10 * BLOCK_ROWS, 1):
            pass
        seconds.append(time.process_time() - start)
    assert 10 * BLOCK_ROWS / min(seconds) > 400_000


def test_a_long_log_needs_no_more_memory_than_a_short_one() -> None:
    world, peaks = ClickLogWorld(SMALL, seed=1), []
    for blocks in (2, 8):
        tracemalloc.start()
        for _block in world.blocks(blocks * BLOCK_ROWS, 1):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(("rows", "seed"), [(0, 1), (-5, 1), (5, -1)])
def test_impossible_sizes_and_seeds_are_refused(rows: int, seed: int) -> None:
    with pytest.raises(ValueError, match=f"received rows {rows} and seed {seed}; expected rows 1 or more"):
        ClickLogWorld(SMALL, 1).sample(rows, seed)
    with pytest.raises(ValueError, match="seed is -1; expected 0 or more"):
        ClickLogWorld(SMALL, -1)
