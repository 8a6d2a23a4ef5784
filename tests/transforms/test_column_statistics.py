"""Statistics of columns against exact arithmetic, in every order in which workers may add up."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers.toy_data import toy_features, write_learnable
from transforms.beam import statistics
from transforms.beam.runners import LOCAL_ARGS
from transforms.beam.statistics import Extremes, Moments, Quantiles, exact_sums
from transforms.beam.transform_dataset import transform_dataset, transformed_files
from transforms.records import load_dataset

FINITE = st.floats(-1e150, 1e150, allow_subnormal=True)
ALL_KINDS = [Moments(), Extremes(), Quantiles(4)]


def learned(statistic, *batches):
    state = statistic.new()
    for batch in batches:
        state = statistic.add(state, np.asarray(batch))
    return statistic.results(statistic.compact(state))


def merged(statistic, *groups):
    state = statistic.new()
    for group in groups:
        part = statistic.new()
        for batch in group:
            part = statistic.add(part, np.asarray(batch))
        state = statistic.merge(state, statistic.compact(part))
    return statistic.results(state)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30))
@example([1e308, 1.0, -1e308, 5e-324, 2.0**-1074])
def test_a_sum_is_that_of_fractions(values):
    (total,) = exact_sums(np.array(values, np.float64).reshape(-1, 1))
    assert Fraction(total, 1 << 1074) == sum(map(Fraction, values), Fraction(0))


@given(st.lists(FINITE, min_size=1, max_size=30))
@example([1.7e9, 1.7e9 + 1, 1.7e9 + 2])
@example([0.1] * 7)
def test_mean_and_variance_are_correctly_rounded(values):
    mean = sum(map(Fraction, values)) / len(values)
    variance = sum((Fraction(one) - mean) ** 2 for one in values) / len(values)
    a_mean, a_variance = learned(Moments(), values)
    assert a_mean == float(mean)
    # The squares of the smallest numbers are no float64.
    assert a_variance == pytest.approx(float(variance), rel=1e-15, abs=1e-290)
    assert a_variance == 0.0 or len(set(values)) > 1


def test_components_of_vectors_are_learned_each_by_itself():
    vectors = np.array([[1.0, 10.0, -3.0], [2.0, 30.0, -3.0]])
    np.testing.assert_array_equal(learned(Moments(3), vectors), [1.5, 20.0, -3.0, 0.25, 100.0, 0.0])


def test_whole_numbers_beyond_float32_keep_their_differences():
    times = np.array([1_700_000_000, 1_700_000_001, 1_700_000_005], np.int64)
    np.testing.assert_allclose(learned(Moments(), times), [1_700_000_002, 14 / 3], rtol=1e-15)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.integers(2, 7))
def test_a_boundary_is_the_value_of_its_rank(values, buckets):
    ordered = sorted(values)
    expected = [ordered[j * len(values) // buckets] for j in range(1, buckets)]
    assert learned(Quantiles(buckets), np.array(values, np.float32)) == expected


def test_without_values_everything_is_zero():
    for statistic in (Moments(2), Extremes(), Quantiles(3)):
        assert learned(statistic, np.zeros([0, 2] if statistic == Moments(2) else [0])) == [0.0] * statistic.size


@given(st.data(), st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=60))
def test_the_order_of_batches_and_workers_changes_no_bit(data, values):
    order = data.draw(st.permutations(values))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), min_size=3, max_size=3)))
    parts = [np.array(part, np.float64) for part in np.split(np.array(order), cuts)]
    for statistic in ALL_KINDS:
        assert merged(statistic, parts[:2], parts[2:]) == learned(statistic, np.array(values, np.float64))


@given(st.data(), st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=200, unique=True))
def test_where_neighbours_are_counted_together_order_changes_nothing_and_little_is_lost(data, numbers):
    values = np.array(numbers, np.float32)
    order = np.array(data.draw(st.permutations(numbers)), np.float32)
    cut = data.draw(st.integers(0, len(order)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_MOST_BINS", 16)
        patch.setattr(statistics, "_PENDING", 8)
        shift, keys, counts, _ = Quantiles(2).compact(Quantiles(2).add(Quantiles(2).new(), values))
        (boundary,) = learned(Quantiles(2), values)
        assert merged(Quantiles(2), [order[:cut]], [order[cut:]]) == [boundary]
    assert len(keys) <= 16 and counts.sum() == len(values)
    assert shift == 0 or len(keys) > 8 or len(values) > 16
    below = int((values < boundary).sum())
    assert below <= len(values) // 2 <= below + counts.max()


def test_two_workers_write_what_one_writes(tmp_path):
    write_learnable(tmp_path / "log")
    dataset, features = load_dataset(tmp_path / "log"), toy_features()
    two = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    for name, options in (("one", LOCAL_ARGS), ("two", two)):
        transform_dataset(tmp_path / "log", dataset, tmp_path / name, features, "row", beam_args=options)
    for split in ("train", "eval"):
        one, other = (transformed_files(tmp_path / name, split) for name in ("one", "two"))
        assert [Path(path).read_bytes() for path in one] == [Path(path).read_bytes() for path in other] != []
