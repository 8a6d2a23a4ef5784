"""Rows as arrays: the same data, whoever reads it, in the order that a seed says."""

import json

import numpy as np
import pytest

from experiments.arrays import dataset_arrays, load_arrays, simulated_arrays
from experiments.batches import batches
from simulation.ctr_world import ClickLogWorld
from simulation.parameters import ClickLogParameters
from tests.helpers.mutual_grid import WORLD
from tests.helpers.toy_data import write_toy
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.splits import random_splits

ROWS, SEED = 3000, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("arrays") / "data"
    simulated_arrays(out, ClickLogParameters.model_validate(WORLD), ROWS, SEED)
    return out


@pytest.fixture(scope="module")
def raw():
    return ClickLogWorld(ClickLogParameters.model_validate(WORLD), SEED).sample(ROWS, SEED)


def test_each_split_has_its_rows_in_order(folder, raw):
    arrays = load_arrays(folder)
    number = random_splits(np.arange(ROWS), SEED)
    for index, split in enumerate(SPLITS):
        rows = arrays.splits[split]
        np.testing.assert_array_equal(rows.label, raw["label"][number == index])
        assert rows.truth is not None
        np.testing.assert_array_equal(rows.truth, raw["true_click_probability"][number == index])
        np.testing.assert_array_equal(rows.features(slice(None))["x"], raw["x"][number == index])
    assert len(arrays.splits["train"]) > 0.75 * ROWS


def test_ids_seen_less_than_twice_in_training_share_one_and_the_others_keep_their_identity(folder, raw):
    arrays, is_train = load_arrays(folder), random_splits(np.arange(ROWS), SEED) == 0
    values, counts = np.unique(raw["c"][is_train], return_counts=True)
    frequent = set(values[counts >= 2].tolist())
    assert 0 < len(frequent) < len(set(raw["c"].tolist()))
    ids = arrays.splits["train"].features(slice(None))["c"]
    pairs = set(zip(raw["c"][is_train].tolist(), ids.tolist()))
    kept = {old: new for old, new in pairs if old in frequent}
    assert sorted(kept.values()) == list(range(1, len(frequent) + 1))
    assert {new for old, new in pairs if old not in frequent} == {len(frequent) + 1}
    # Id 0, which is padding, the frequent ones, and the shared one.
    assert arrays.table_sizes["c"] == len(frequent) + 2
    test = arrays.splits["test"].features(slice(None))["c"]
    assert test.min() >= 1 and test.max() <= len(frequent) + 1


def test_the_hash_tells_data_of_another_seed(folder, tmp_path):
    parameters = ClickLogParameters.model_validate(WORLD)
    for name, seed in (("same", SEED), ("other", SEED + 1)):
        simulated_arrays(tmp_path / name, parameters, ROWS, seed)
    own = load_arrays(folder).sha256
    assert load_arrays(tmp_path / "same").sha256 == own != load_arrays(tmp_path / "other").sha256
    assert json.loads((tmp_path / "other" / "about.json").read_text())["about"]["seed"] == SEED + 1


def test_features_are_those_of_the_rows_asked_for(folder):
    rows = load_arrays(folder).splits["eval"]
    whole, some = rows.features(slice(None)), rows.features(np.array([7, 3]))
    assert list(some) == ["a", "b", "c", "x"]
    for name, values in some.items():
        np.testing.assert_array_equal(values, whole[name][[7, 3]])
    assert some["a"].dtype == np.int32 and some["x"].dtype == np.float32


def test_an_epoch_has_each_row_once_in_an_order_of_its_own(folder):
    rows = load_arrays(folder).splits["train"]

    def read(order):
        parts = list(batches(rows, 256, order).as_numpy_iterator())
        assert [len(label) for _, label in parts[:-1]] == [256] * (len(parts) - 1)
        features = [zip(*(features[name].tolist() for name in "abcx"), label.tolist()) for features, label in parts]
        return [row for part in features for row in part]

    whole = rows.features(slice(None))
    expected = list(zip(*(whole[name].tolist() for name in "abcx"), rows.label.tolist()))
    first = read((1, 0))
    assert read(None) == expected
    assert first != expected and sorted(first) == sorted(expected)
    assert read((1, 0)) == first
    assert read((1, 1)) != first != read((2, 0))


def test_a_dataset_with_lists_is_refused_and_nothing_is_written(tmp_path):
    write_toy(tmp_path / "toy")
    with pytest.raises(InputError, match="lists: history"):
        dataset_arrays(tmp_path / "out", tmp_path / "toy", lambda _: None)
    assert not (tmp_path / "out").exists()
