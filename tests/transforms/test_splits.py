"""Random splits: by seed and ordinal alone, in the odds that were asked for."""

import numpy as np
import pytest

from transforms.splits import random_splits


def test_rows_fall_into_train_eval_and_test_8_to_1_to_1() -> None:
    chosen = random_splits(np.arange(200_000), seed=3)
    assert set(chosen.tolist()) == {0, 1, 2}
    # Three standard deviations of a share of 0.8 among 200,000 are 0.0027.
    np.testing.assert_allclose(np.bincount(chosen) / 200_000, [0.8, 0.1, 0.1], atol=0.0027)


def test_a_row_keeps_its_split_whatever_the_others() -> None:
    together = random_splits(np.arange(1000), seed=1)
    apart = np.concatenate([random_splits(np.arange(600, 1000), 1), random_splits(np.arange(600), 1)])
    np.testing.assert_array_equal(apart, np.roll(together, 400))


@pytest.mark.parametrize("other", [0, 2, 2**31])
def test_splits_of_two_seeds_have_nothing_in_common(other: int) -> None:
    first, second = random_splits(np.arange(100_000), 1) == 2, random_splits(np.arange(100_000), other) == 2
    # Independent tenths share a hundredth; three standard deviations are 0.001.
    assert (first & second).mean() == pytest.approx(0.01, abs=0.001)
